using System.Text.Json;
using Tidemark.Interop.Tests.Chains;
using Tidemark.Interop.Tests.Guests;
using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Interop.Tests.Domains;

/// <summary>
/// A machine of <see cref="ChainScene"/> whose backups are made by the <c>domain</c> verbs, as an administrator types
/// them; each is compared with the state at its transaction, to the byte, though the guest writes on at once.
/// </summary>
internal sealed class DomainMachine : IAsyncDisposable
{
    private const int Granule = ChainScene.Granule;

    private readonly ChainScene _scene;
    private readonly HypervisorKind _kind;
    private readonly string _format;

    // What the guest has written from each checkpoint to the next, per disk; and each disk as it was then.
    private readonly List<(string Name, HashSet<long>[] Granules)> _intervals = [];
    private readonly Dictionary<string, byte[][]> _contents = [];
    private readonly List<string[]> _qcow2Targets = [];
    private int _backups;

    private DomainMachine(ChainScene scene, HypervisorKind kind, string format)
    {
        _scene = scene;
        _kind = kind;
        _format = format;
    }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string[] Disks => [.. _scene.Hypervisor.DiskNames];

    /// <param name="kind">The hypervisor.</param>
    /// <param name="version">Its version.</param>
    /// <param name="diskCount">How many disks it has.</param>
    /// <param name="format">The format of the first disk's first target.</param>
    public static async Task<DomainMachine> CreateAsync(
        HypervisorKind kind, string version, int diskCount, string format) =>
        new(await ChainScene.CreateAsync(kind, version, diskCount), kind, format);

    public Task WriteAsync() => _scene.WriteAsync(perDisk: 2);

    public Task RestartAsync() => _scene.RestartAsync();

    /// <summary>A verb that must succeed.</summary>
    public Task<string> DoAsync(string verb, params string[] arguments) =>
        DoAsync(_scene.Hypervisor.MonitorPath, verb, arguments);

    /// <summary>An external snapshot of all disks.</summary>
    public Task SnapshotAsync(string name) => DoAsync("snapshot-create-as",
        [name, .. Disks.SelectMany(disk => new[] { "--diskspec", $"{disk},file={ImagePath($"{disk}-{name}")}" })]);

    /// <summary>The active layer of each disk goes into the one below it, which is the disk from then on.</summary>
    public async Task CommitAsync()
    {
        foreach (var disk in Disks)
        {
            await DoAsync("blockcommit", disk, "--shallow", "--active", "--pivot", "--delete");
        }
    }

    /// <summary>The checkpoints with what they are worth.</summary>
    public async Task<string> CheckpointsAsync()
    {
        using var list = JsonDocument.Parse(await DoAsync("checkpoint-list", "--json"));
        return string.Join(' ', list.RootElement.GetProperty("checkpoints").EnumerateArray().Select(one =>
            $"{one.GetProperty("name").GetString()}:{one.GetProperty("state").GetString()}"));
    }

    /// <summary>A backup with a new checkpoint.</summary>
    /// <param name="mode"><c>push</c> or <c>pull</c>.</param>
    /// <param name="checkpoint">The new checkpoint.</param>
    /// <param name="since">The checkpoint that it is an increment since; null for a full one.</param>
    /// <param name="intoCopies">Whether the targets are there, and hold the backup of that checkpoint.</param>
    public async Task BackupAsync(string mode, string checkpoint, string? since, bool intoCopies = false)
    {
        var number = _backups++;
        var dirty = Enumerable.Range(0, Disks.Length).Select(disk => Since(since, disk)).ToArray();
        var xml = Path.Combine(_scene.Folder, "cache", $"{checkpoint}.xml");
        Directory.CreateDirectory(Path.GetDirectoryName(xml)!);
        await File.WriteAllTextAsync(xml, mode == "push" ? Push(number, since) : Pull(since), Token);
        await File.WriteAllTextAsync(
            xml + "c", $"<domaincheckpoint><name>{checkpoint}</name></domaincheckpoint>", Token);
        if (intoCopies)
        {
            await MakeCopiesAsync(number, since!);
        }

        var writes = await BeginAsync(mode, xml, dirty, checkpoint, intoCopies ? ["--reuse-external"] : []);

        byte[][] contents;
        if (mode == "push")
        {
            contents = await ReadTargetsAsync(number, intoCopies ? null : since, dirty);
        }
        else
        {
            contents = await ReadExportsAsync(since, dirty);
            await DoAsync("domjobabort");
        }

        _scene.CheckInstant(contents, writes);
        _contents[checkpoint] = contents;
        using var job = JsonDocument.Parse(await DoAsync("domjobinfo", "--completed", "--json"));
        Assert.Equal("Completed", job.RootElement.GetProperty("type_name").GetString());
        if (mode == "push" && since is not null)
        {
            // What the job copied is what was dirty, and not a granule more.
            Assert.Equal(
                dirty.Sum(granules => (long)granules.Count * Granule),
                job.RootElement.GetProperty("disk_processed").GetInt64());
        }
    }

    /// <summary>Nothing temporary is left anywhere; a snapshot's nodes would be.</summary>
    public async Task NothingIsLeftAsync()
    {
        // An export that was removed holds its node for a moment longer.
        List<string> left = [];
        for (var attempt = 0; attempt < 20; attempt++)
        {
            left = await _scene.Hypervisor.LeftoversAsync(Token);
            if (left.Count == 0)
            {
                return;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(100), Token);
        }

        Assert.Fail($"left behind: {string.Join(", ", left)}");
    }

    public ValueTask DisposeAsync() => _scene.DisposeAsync();

    // The guest's writes up to the instant.
    private async Task<int> BeginAsync(
        string mode, string xml, HashSet<long>[] dirty, string checkpoint, string[] options)
    {
        await using var proxy = new MonitorProxy(
            Path.Combine(_scene.Folder, "proxy.sock"), _scene.Hypervisor.MonitorPath);
        var writes = 0;
        proxy.Interrupt = async () =>
        {
            writes = _scene.Writes.Completed;
            _scene.ForgetDirty();
            await _scene.OverwriteAsync([.. dirty.Select(granules => granules.Order().ToArray())]);
            return true;
        };

        // What was written before the first checkpoint belongs to none.
        foreach (var (_, granules) in _intervals.TakeLast(1))
        {
            for (var disk = 0; disk < granules.Length; disk++)
            {
                granules[disk].UnionWith(_scene.Dirty[disk]);
            }
        }

        string[] server = mode == "pull" && _kind != HypervisorKind.QemuSystem ? ["--nbd-running"] : [];
        string[] wait = mode == "push" ? ["--wait"] : [];
        await DoAsync(proxy.Path, "backup-begin", [xml, xml + "c", .. server, .. wait, .. options]);
        Assert.True(proxy.Interrupt is null, $"no transaction was seen: {proxy.Failure}");
        _intervals.Add((checkpoint, [.. Disks.Select(_ => new HashSet<long>())]));
        return writes;
    }

    // What was written since a checkpoint, what is not noted yet included.
    private HashSet<long> Since(string? checkpoint, int disk)
    {
        HashSet<long> granules = [];
        var first = checkpoint is null ? _intervals.Count : _intervals.FindIndex(one => one.Name == checkpoint);
        foreach (var (_, written) in _intervals.Skip(first))
        {
            granules.UnionWith(written[disk]);
        }

        granules.UnionWith(_scene.Dirty[disk]);
        return granules;
    }

    // The backup of a checkpoint where the next one's targets will be: a raw copy, or an empty image over one.
    private async Task MakeCopiesAsync(int number, string checkpoint)
    {
        foreach (var (index, disk) in Disks.Index())
        {
            var target = Target(disk, index, number);
            var isRaw = Format(index, number) == "raw";
            var copy = isRaw ? target : target + ".below";
            await File.WriteAllBytesAsync(copy, _contents[checkpoint][index], Token);
            if (!isRaw)
            {
                await Tool.RunOkAsync(
                    "qemu-img", "create", "-q", "-f", "qcow2", "-b", copy, "-F", "raw", target,
                    $"{ChainScene.DiskLength}");
            }
        }
    }

    private async Task<byte[][]> ReadTargetsAsync(int number, string? since, HashSet<long>[] dirty)
    {
        var contents = new byte[Disks.Length][];
        string[] targets = [.. Disks.Select((disk, index) => Target(disk, index, number))];
        for (var index = 0; index < contents.Length; index++)
        {
            var format = Format(index, number);
            var bytes = await ReadImageAsync(targets[index], format);
            if (since is null)
            {
                contents[index] = bytes;
                continue;
            }

            contents[index] = [.. _contents[since][index]];
            foreach (var granule in dirty[index])
            {
                bytes.AsSpan((int)granule * Granule, Granule).CopyTo(
                    contents[index].AsSpan((int)granule * Granule));
                bytes.AsSpan((int)granule * Granule, Granule).Clear();
            }

            // Nothing else came: not a byte outside of the bitmap was written, so none was read for it.
            Assert.True(!bytes.AsSpan().ContainsAnyExcept((byte)0), $"{targets[index]} holds more than was dirty");
            if (format == "qcow2")
            {
                Assert.Equal(dirty[index].Order(), await HeldAsync(targets[index]));
            }

            if (number == 1 && format == "qcow2")
            {
                // As the plan's note says: put over the backup before, it is the disk.
                await Tool.RunOkAsync(
                    "qemu-img", "rebase", "-q", "-u", "-b", _qcow2Targets[0][index], "-F", "qcow2", targets[index]);
                Scene.AssertSame(contents[index], await ReadImageAsync(targets[index], format));
            }
        }

        _qcow2Targets.Add(targets);
        return contents;
    }

    private async Task<byte[][]> ReadExportsAsync(string? since, HashSet<long>[] dirty)
    {
        var contents = new byte[Disks.Length][];
        foreach (var (index, disk) in Disks.Index())
        {
            using var client = await GuestDisk.ConnectAsync(ServerSocket, $"{disk}-view", Token);
            contents[index] = new byte[client.Length];
            for (var offset = 0; offset < contents[index].Length; offset += 1 << 20)
            {
                (await client.ReadAsync(offset, 1 << 20, Token)).CopyTo(contents[index], offset);
            }

            if (since is not null)
            {
                Assert.Equal(dirty[index].Order(), await MarkedAsync(disk));
            }
        }

        return contents;
    }

    // The granules that an increment's image holds itself.
    private static async Task<List<long>> HeldAsync(string image)
    {
        using var map = JsonDocument.Parse(await Tool.RunOkAsync("qemu-img", "map", "--output=json", image));
        return Granules(map.RootElement.EnumerateArray().Where(one => one.GetProperty("present").GetBoolean())
            .Select(one => (one.GetProperty("start").GetInt64(), one.GetProperty("length").GetInt64())));
    }

    private async Task<List<long>> MarkedAsync(string disk)
    {
        using var map = JsonDocument.Parse(await Tool.RunOkAsync(
            "nbdinfo", "--json", $"--map=qemu:dirty-bitmap:backup-{disk}",
            $"nbd+unix:///{disk}-view?socket={ServerSocket}"));
        return Granules(map.RootElement.EnumerateArray().Where(one => one.GetProperty("type").GetInt32() == 1)
            .Select(one => (one.GetProperty("offset").GetInt64(), one.GetProperty("length").GetInt64())));
    }

    private static List<long> Granules(IEnumerable<(long Offset, long Length)> runs) =>
    [
        .. runs.SelectMany(run => Enumerable.Range(
            (int)(run.Offset / Granule), (int)((run.Length + Granule - 1) / Granule)).Select(index => (long)index))
            .Order(),
    ];

    private static async Task<byte[]> ReadImageAsync(string path, string format)
    {
        var raw = path + ".bytes";
        await Tool.RunOkAsync("qemu-img", "convert", "-f", format, "-O", "raw", path, raw);
        var bytes = await File.ReadAllBytesAsync(raw, Token);
        File.Delete(raw);
        return bytes;
    }

    private string ServerSocket => _kind == HypervisorKind.QemuSystem
        ? Path.Combine(_scene.Folder, "cache", "pull.sock")
        : Path.Combine(_scene.Folder, "nbd.sock");

    private string ImagePath(string name) => Path.Combine(_scene.Folder, "images", $"{name}.qcow2");

    // Each disk's targets are of the one format and the other by turns, but for the first two.
    private string Format(int disk, int number) =>
        (disk + Math.Max(0, number - 1)) % 2 == 0 == (_format == "qcow2") ? "qcow2" : "raw";

    private string Target(string disk, int index, int number) =>
        Path.Combine(_scene.Folder, "images", $"backup-{disk}-{number}.{Format(index, number)}");

    private string Push(int number, string? since) =>
        $"<domainbackup>{Incremental(since)}<disks>" + string.Concat(Disks.Select((disk, index) =>
            $"<disk name='{disk}' type='file'><target file='{Target(disk, index, number)}'/>"
            + $"<driver type='{Format(index, number)}'/></disk>")) + "</disks></domainbackup>";

    private string Pull(string? since) =>
        $"<domainbackup mode='pull'>{Incremental(since)}<server transport='unix' socket='{ServerSocket}'/><disks>"
        + string.Concat(Disks.Select(disk =>
            $"<disk name='{disk}' type='file' exportname='{disk}-view'>"
            + $"<scratch file='{ImagePath($"{disk}-scratch")}'/></disk>")) + "</disks></domainbackup>";

    private static string Incremental(string? since) =>
        since is null ? "" : $"<incremental>{since}</incremental>";

    private Task<string> DoAsync(string monitor, string verb, string[] arguments) => _scene.Tidemark.RunOkAsync(
        ["domain", verb, .. arguments, "--monitor", $"qmp:{monitor}", "--domain", "vm"]);
}
