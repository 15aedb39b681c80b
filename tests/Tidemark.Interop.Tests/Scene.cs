using System.Text.Json;
using Tidemark.Interop.Tests.Guests;
using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Interop.Tests.Programs;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary>
/// What each test here plays in: a folder, a repository, a running hypervisor with disks that hold data, and a guest.
/// </summary>
internal sealed class Scene : IAsyncDisposable
{
    public const long DiskLength = 48 << 20;

    private const long GuestSlots = (16 << 20) / GuestWrites.SlotLength;

    private readonly TemporaryDirectory _folder = new();

    private Scene(HypervisorKind kind, int diskCount, QemuVersion? version)
    {
        Tidemark = new TidemarkProgram(_folder.Path);
        Hypervisor = kind switch
        {
            HypervisorKind.QemuSystem => new SystemEmulator(_folder.Path, diskCount, version),
            HypervisorKind.QemuStorageDaemon =>
                new StorageDaemon(_folder.Path, diskCount, embedded: false, Tidemark, version),
            _ => new StorageDaemon(_folder.Path, diskCount, embedded: true, Tidemark),
        };
        Kind = kind;
        Writes = new GuestWrites(diskCount, stamped: kind != HypervisorKind.QemuSystem);
        Guest = new Guest(Writes, Hypervisor.WriteAsync, GuestSlots);
        Initial = new byte[diskCount][];
    }

    public HypervisorKind Kind { get; }

    public string Folder => _folder.Path;

    public TidemarkProgram Tidemark { get; }

    public Hypervisor Hypervisor { get; }

    public GuestWrites Writes { get; }

    public Guest Guest { get; }

    /// <summary>Each disk before the guest's first write.</summary>
    public byte[][] Initial { get; }

    /// <summary>The source of a backup: the hypervisor's monitor.</summary>
    public string Source => $"qmp:{Hypervisor.MonitorPath}";

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static void SkipUnlessPossible(params string[] more)
    {
        var why = Tool.Missing(["qemu-img", "qemu-io", "qemu-storage-daemon", "qemu-system-x86_64", "restic", .. more]);
        Assert.SkipWhen(why is not null, why ?? "");
    }

    /// <summary>Makes the disks, starts the hypervisor and initialises the repository.</summary>
    public static async Task<Scene> CreateAsync(
        HypervisorKind kind, int diskCount = 2, bool repository = true, QemuVersion? version = null,
        bool starts = true)
    {
        var scene = new Scene(kind, diskCount, version);
        try
        {
            for (var disk = 0; disk < diskCount; disk++)
            {
                // No byte of the first content is that of one of the first writes: they are told apart by one byte.
                scene.Initial[disk] = await CreateDiskAsync(scene.Hypervisor.DiskPath(disk), seed: disk + 150);
            }

            if (starts)
            {
                await scene.Hypervisor.StartAsync(Token);
            }

            if (repository)
            {
                await scene.Tidemark.RunOkAsync("init", "--repo", scene.Tidemark.Repository);
            }

            return scene;
        }
        catch
        {
            await scene.DisposeAsync();
            throw;
        }
    }

    /// <summary>A qcow2 disk with data, zeroes and holes; returns what a guest reads from it.</summary>
    public static async Task<byte[]> CreateDiskAsync(string path, int seed)
    {
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", path, $"{DiskLength}");
        await Tool.RunOkAsync("qemu-io", "-c", $"write -P {seed} 20M 9M", "-c", $"write -P {seed + 100} 70k 300k",
            "-c", "write -z 22M 1M", path);
        var raw = path + ".raw";
        await Tool.RunOkAsync("qemu-img", "convert", "-O", "raw", path, raw);
        var bytes = await File.ReadAllBytesAsync(raw, Token);
        File.Delete(raw);
        return bytes;
    }

    /// <summary>A backup that must succeed, and what the guest had written before and after it.</summary>
    public async Task<Point> BackupAsync(string mode, params string[] options)
    {
        var atLeast = Writes.Completed;
        var report = await Tidemark.BackupAsync(Source, ["--mode", mode, .. Hypervisor.NbdOptions, .. options]);
        return new Point(report, atLeast, Writes.Begun);
    }

    /// <summary>The same, while a test acts at one moment of it; it must fail, and returns what it said.</summary>
    public Task<string> BackupFailsAsync(string mode, string? source = null, params string[] options) =>
        Tidemark.BackupFailsAsync(source ?? Source, ["--mode", mode, .. Hypervisor.NbdOptions, .. options]);

    /// <summary>Restores every disk of a point and checks that they are
    /// one instant; returns the last write in it.</summary>
    public async Task<int> CheckRestoredAsync(Point point, params string[] names)
    {
        var restored = new byte[Initial.Length][];
        foreach (var (disk, name) in (names.Length > 0 ? names : Hypervisor.DiskNames).Index())
        {
            restored[disk] = await Tidemark.RestoreAsync(point.SnapshotId, name);
        }

        return Writes.CheckInstant(restored, Initial, point.AtLeast, point.AtMost);
    }

    /// <summary>One numbered write, completed.</summary>
    public async Task WriteAsync(int disk, long slot)
    {
        var number = Writes.Begin(disk, slot);
        await Hypervisor.WriteAsync(disk, slot * GuestWrites.SlotLength, Writes.Content(number), Token);
        Writes.Complete(number);
    }

    public static void AssertSame(byte[] expected, byte[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        var same = expected.AsSpan().CommonPrefixLength(actual);
        Assert.True(same == expected.Length, $"the first difference is at offset {same}");
    }

    /// <param name="said">What the program said, for the failure's message.</param>
    public async Task AssertNothingLeftAsync(string said = "")
    {
        // Exports and nodes may be gone a moment after the reply that announced it.
        List<string> left = [];
        for (var attempt = 0; attempt < 20; attempt++)
        {
            left = await Hypervisor.LeftoversAsync(Token);
            if (left.Count == 0)
            {
                return;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(100), Token);
        }

        Assert.Fail($"left behind: {string.Join(", ", left)}. {said}");
    }

    public async ValueTask DisposeAsync()
    {
        await Guest.DisposeAsync();
        await Hypervisor.DisposeAsync();
        _folder.Dispose();
    }

    /// <summary>A restore point, with the guest's writes that were completed before it and begun by its end.</summary>
    internal sealed record Point(JsonElement Report, int AtLeast, int AtMost)
    {
        public string SnapshotId => Report.GetProperty("snapshot_id").GetString()!;

        public string[] Kinds => [.. Disks.Select(disk => disk.GetProperty("kind").GetString()!)];

        public IEnumerable<JsonElement> Disks => Report.GetProperty("disks").EnumerateArray();
    }
}
