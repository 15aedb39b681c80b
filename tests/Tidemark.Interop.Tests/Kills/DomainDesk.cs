using System.Text.Json;
using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Interop.Tests.Kills;

/// <summary>The verbs of <c>tidemark domain</c> at one hypervisor with one disk, and what must be true after
/// them.</summary>
internal sealed class DomainDesk : IAsyncDisposable
{
    private readonly string _mode;
    private readonly string _cache;

    private DomainDesk(Scene scene, string mode)
    {
        Scene = scene;
        _mode = mode;
        _cache = Directory.CreateDirectory(Path.Combine(scene.Folder, "cache")).FullName;
        Images = Directory.CreateDirectory(Path.Combine(scene.Folder, "images")).FullName;
        Proxy = new MonitorProxy(Path.Combine(scene.Folder, "proxy.sock"), scene.Hypervisor.MonitorPath);
    }

    public Scene Scene { get; }

    public MonitorProxy Proxy { get; }

    /// <summary>Targets and scratches lie here.</summary>
    public string Images { get; }

    public string Target => Path.Combine(Images, "vda.image");

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    // A daemon whose guest comes by NBD has its server already: the pull is published there.
    private bool SharesServer => Scene.Hypervisor is StorageDaemon;

    private string Socket => Scene.Hypervisor is StorageDaemon daemon ? daemon.NbdPath : $"{Images}/view.sock";

    public static async Task<DomainDesk> CreateAsync(HypervisorKind kind, string version, string mode)
    {
        Scene.SkipUnlessPossible();
        var scene = await Scene.CreateAsync(kind, diskCount: 1, repository: false, Versions.Need(version));
        var desk = new DomainDesk(scene, mode);
        await File.WriteAllBytesAsync(Path.Combine(desk._cache, "initial.raw"), scene.Initial[0], Token);
        return desk;
    }

    /// <summary>The arguments of a verb.</summary>
    public string[] Verb(params string[] verb) =>
        ["domain", .. verb, "--monitor", $"qmp:{Proxy.Path}", "--domain", "vm"];

    public Task<string> RunAsync(params string[] verb) => Scene.Tidemark.RunOkAsync(Verb(verb));

    /// <summary>The arguments of a backup, since <c>first</c> and with a new checkpoint.</summary>
    public async Task<string[]> BeginAsync(string checkpoint, params string[] more)
    {
        var backup = await WriteAsync("backup.xml", BackupXml());
        var definition = await WriteAsync(
            "checkpoint.xml", $"<domaincheckpoint><name>{checkpoint}</name></domaincheckpoint>");
        string[] nbd = _mode == "pull" && SharesServer ? ["--nbd-running"] : [];
        return Verb(["backup-begin", backup, definition, .. nbd, .. more]);
    }

    /// <summary>The names of the checkpoints, the older first.</summary>
    public async Task<string> CheckpointsAsync() =>
        string.Join(' ', (await RunAsync("checkpoint-list", "--name", "--topological"))
            .Split('\n', StringSplitOptions.RemoveEmptyEntries));

    /// <summary>The state of a checkpoint, as it is listed.</summary>
    public async Task<string> StateAsync(string checkpoint)
    {
        using var list = JsonDocument.Parse(await RunAsync("checkpoint-list", "--json"));
        return list.RootElement.GetProperty("checkpoints").EnumerateArray()
            .First(one => one.GetProperty("name").GetString() == checkpoint).GetProperty("state").GetString()!;
    }

    /// <summary>The backup that runs, or the last one.</summary>
    public async Task<JsonElement> JobAsync(bool completed = false)
    {
        using var job = JsonDocument.Parse(await RunAsync(
            ["domjobinfo", "--json", .. completed ? new[] { "--completed" } : []]));
        return job.RootElement.Clone();
    }

    /// <summary>Waits until no backup runs.</summary>
    public async Task<JsonElement> EndedAsync()
    {
        for (var attempt = 0; ; attempt++)
        {
            if ((await JobAsync()).GetProperty("type").GetInt32() == 0)
            {
                return await JobAsync(completed: true);
            }

            Assert.True(attempt < 200, "the backup does not end");
            await Task.Delay(TimeSpan.FromMilliseconds(50), Token);
        }
    }

    /// <summary>A backup that is running or has ended by itself is right, to the byte, and can be ended; then nothing
    /// is left but its checkpoint and, of a push, its target, which are removed.</summary>
    /// <param name="checkpoint">Its checkpoint.</param>
    /// <param name="givesUp">Ends a pull as given up.</param>
    /// <param name="writes">The writes that it holds.</param>
    /// <param name="what">For the failure's message.</param>
    /// <param name="kind">Whether it is an increment.</param>
    public async Task CheckBegunAsync(
        string checkpoint, bool givesUp, int writes, string what, string kind = "incremental")
    {
        JsonElement job;
        if (_mode == "pull")
        {
            job = await JobAsync();
            Assert.True(job.GetProperty("type").GetInt32() != 0, $"no pull runs. {what}");
            await CheckDiskAsync($"nbd+unix:///view-vda?socket={Socket}", "raw", writes, what);
            await RunAsync(["domjobabort", .. givesUp ? new[] { "--give-up" } : []]);
        }
        else
        {
            job = await EndedAsync();
            Assert.True(job.GetProperty("type_name").GetString() == "Completed", $"{job}. {what}");
            if (kind == "incremental")
            {
                await Tool.RunOkAsync(
                    "qemu-img", "rebase", "-u", "-F", "raw", "-b", Path.Combine(_cache, "initial.raw"), Target);
            }

            await CheckDiskAsync(Target, "qcow2", writes, what);
            File.Delete(Target);
        }

        var disk = job.GetProperty("disks")[0];
        Assert.True(disk.GetProperty("backupmode").GetString() == kind, $"{job}. {what}");
        await Scene.AssertNothingLeftAsync(what);
        Assert.Empty(Directory.EnumerateFileSystemEntries(Images));
        var stays = _mode == "push" || !givesUp;
        var checkpoints = await CheckpointsAsync();
        Assert.True(checkpoints.Split(' ').Contains(checkpoint) == stays, $"{checkpoints}. {what}");
        if (stays)
        {
            Assert.Equal("valid", await StateAsync(checkpoint));
            await RunAsync("checkpoint-delete", checkpoint);
        }
    }

    /// <summary>The verb that ends the backup which runs: a pull is ended, a push has ended by itself.</summary>
    public async Task<string> EndingVerbAsync()
    {
        while (_mode == "push" && (await Scene.Hypervisor.ExecuteAsync("query-jobs", null, Token)).EnumerateArray()
            .Any(job => job.GetProperty("status").GetString() != "concluded"))
        {
            await Task.Delay(TimeSpan.FromMilliseconds(10), Token);
        }

        return _mode == "pull" ? "domjobabort" : "domjobinfo";
    }

    /// <summary>A backup whose ending verb may have been killed is completed after the next one, and right; nothing is
    /// left but its checkpoint and, of a push, its target, which are removed.</summary>
    /// <param name="checkpoint">Its checkpoint.</param>
    /// <param name="writes">The writes that it holds.</param>
    /// <param name="what">For the failure's message.</param>
    public async Task CheckEndedAsync(string checkpoint, int writes, string what)
    {
        if ((await JobAsync()).GetProperty("type").GetInt32() != 0)
        {
            // Killed before it had told anybody that the pull shall end.
            await RunAsync(await EndingVerbAsync());
        }

        var job = await JobAsync(completed: true);
        Assert.True(job.GetProperty("type_name").GetString() == "Completed", $"{job}. {what}");
        Assert.True(job.GetProperty("checkpoint").GetString() == checkpoint, $"{job}. {what}");
        await Scene.AssertNothingLeftAsync(what);
        if (_mode == "push")
        {
            await Tool.RunOkAsync(
                "qemu-img", "rebase", "-u", "-F", "raw", "-b", Path.Combine(_cache, "initial.raw"), Target);
            await CheckDiskAsync(Target, "qcow2", writes, what);
            File.Delete(Target);
        }

        Assert.Empty(Directory.EnumerateFileSystemEntries(Images));
        Assert.Equal("valid", await StateAsync(checkpoint));
        await RunAsync("checkpoint-delete", checkpoint);
    }

    public async ValueTask DisposeAsync()
    {
        await Proxy.DisposeAsync();
        await Scene.DisposeAsync();
    }

    private async Task CheckDiskAsync(string source, string format, int writes, string what)
    {
        var raw = Path.Combine(_cache, "read.raw");
        await Tool.RunOkAsync("qemu-img", "convert", "-f", format, "-O", "raw", source, raw);
        try
        {
            Scene.Writes.CheckInstant([await File.ReadAllBytesAsync(raw, Token)], Scene.Initial, writes, writes);
        }
        catch (InvalidDataException exception)
        {
            Assert.Fail($"{exception.Message}. {what}");
        }
    }

    private string BackupXml() => $"""
        <domainbackup mode='{_mode}'>
          <incremental>first</incremental>
          {(_mode == "pull" ? $"<server transport='unix' socket='{Socket}'/>" : "")}
          <disks>
            <disk name='vda' type='file'{(_mode == "pull" ? " exportname='view-vda'" : "")}>
              <{(_mode == "pull" ? "scratch" : "target")} file='{Target}'/>
            </disk>
          </disks>
        </domainbackup>
        """;

    private async Task<string> WriteAsync(string name, string text)
    {
        var path = Path.Combine(_cache, name);
        await File.WriteAllTextAsync(path, text, Token);
        return path;
    }
}
