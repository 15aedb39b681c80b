using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Interop.Tests.LinuxGuest;
using Tidemark.Interop.Tests.Programs;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary>
/// A real Linux writes files to the ext4 of its disk, each fsynced, while it is backed up by push and by pull, into a
/// repository and by the verbs of a domain. Every restored point is a sound file system once its journal was replayed,
/// as after a power cut at that instant, and holds every file that the guest had been told is durable before.
/// </summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class LinuxGuestTests
{
    private const string Installed = "installed";
    private const int DiskMegabytes = 64;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>The installed QEMU, and our engine behind it; when asked for, each version.</summary>
    public static TheoryData<HypervisorKind, string> Machines
    {
        get
        {
            var data = new TheoryData<HypervisorKind, string>
            {
                { HypervisorKind.QemuSystem, Installed }, { HypervisorKind.EmbeddedEngine, Installed },
            };
            foreach (var version in Soak.IsAsked ? QemuVersions.Wanted : [])
            {
                data.Add(HypervisorKind.QemuSystem, version);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Machines))]
    public async Task Every_point_holds_what_was_fsynced(HypervisorKind kind, string version)
    {
        Scene.SkipUnlessPossible("e2fsck", "debugfs", "mkfs.ext4");
        GuestKit.SkipUnlessThere();
        using var folder = new TemporaryDirectory();
        var tidemark = new TidemarkProgram(folder.Path);
        var qemu = version == Installed ? null : QemuVersions.Need(version);
        await using var daemon = kind == HypervisorKind.EmbeddedEngine
            ? new StorageDaemon(folder.Path, diskCount: 1, embedded: true, tidemark, guestConnects: false)
            : null;
        using var machineFolder = new TemporaryDirectory();
        await using var machine = new LinuxMachine(
            daemon is null ? folder.Path : machineFolder.Path, qemu, daemon?.NbdPath);
        Hypervisor hypervisor = daemon is null ? machine : daemon;
        await CreateDiskAsync(hypervisor.DiskPath(0));
        if (daemon is not null)
        {
            await daemon.StartAsync(Token);
        }

        await machine.StartAsync(Token);
        await tidemark.RunOkAsync("init", "--repo", tidemark.Repository);
        await machine.Console.UntilAsync("SYNCED", 5, Token);

        var restored = Directory.CreateDirectory(Path.Combine(folder.Path, "cache", "restored")).FullName;
        var domain = new GuestDomain(tidemark, hypervisor, restored);
        List<GuestPoint> points = [];
        foreach (var take in new Func<string, Task<(string Kind, string Image)>>[]
        {
            monitor => BackupAsync(tidemark, hypervisor, monitor, "pull"),
            monitor => BackupAsync(tidemark, hypervisor, monitor, "push"),
            monitor => domain.PushAsync(monitor, "c1", since: null),
            monitor => domain.PushAsync(monitor, "c2", since: "c1"),
            monitor => domain.PullAsync(monitor, "c3", since: "c2"),
        })
        {
            points.Add(await TakeAsync(hypervisor, machine.Console, folder.Path, take));
            await machine.Console.UntilAsync("SYNCED", machine.Console.Last("SYNCED") + 10, Token);
        }

        await machine.KillAsync();
        Assert.True(points[^1].Before > points[0].After, "the points do not differ");
        Assert.Equal(["full", "incremental", "full", "incremental", "incremental"], points.Select(point => point.Kind));
        foreach (var (index, point) in points.Index())
        {
            var image = Path.Combine(restored, $"{index}.raw");
            if (File.Exists(point.Image))
            {
                await Tool.RunOkAsync("qemu-img", "convert", "-O", "raw", point.Image, image);
            }
            else
            {
                await File.WriteAllBytesAsync(image, await tidemark.RestoreAsync(point.Image, "vda"), Token);
            }

            await RestoredFiles.CheckAsync(image, Path.Combine(restored, $"files-{index}"), point);
        }

        // The judge can say no: the first point does not hold what was durable before the last.
        await Assert.ThrowsAsync<InvalidDataException>(() => RestoredFiles.CheckAsync(
            Path.Combine(restored, "0.raw"), Path.Combine(restored, "files-again"), points[^1]));
    }

    private static async Task<(string Kind, string Image)> BackupAsync(
        TidemarkProgram tidemark, Hypervisor hypervisor, string monitor, string mode)
    {
        var report = await tidemark.BackupAsync($"qmp:{monitor}", ["--mode", mode, .. hypervisor.NbdOptions]);
        var point = new Scene.Point(report, 0, 0);
        return (Assert.Single(point.Kinds), point.SnapshotId);
    }

    // The console is read just before the transaction is passed on, and again after its reply.
    private static async Task<GuestPoint> TakeAsync(
        Hypervisor hypervisor,
        GuestConsole console,
        string folder,
        Func<string, Task<(string Kind, string Image)>> takeAsync)
    {
        var (before, logged, after) = (0, 0, 0);
        await using var proxy = new MonitorProxy(Path.Combine(folder, "proxy.sock"), hypervisor.MonitorPath);
        proxy.Before = () => (before, logged) = (console.Last("SYNCED"), console.Last("LOGGED"));
        proxy.Interrupt = () =>
        {
            proxy.Before = null;
            after = console.Last("SYNCED");
            return Task.FromResult(true);
        };
        var (kind, image) = await takeAsync(proxy.Path);
        Assert.True(before > 0, "the run did not come to its transaction");
        return new GuestPoint(image, kind, before, logged, after, console.Last("BEGIN"));
    }

    private static async Task CreateDiskAsync(string path)
    {
        var raw = path + ".raw";
        await using (var file = File.Create(raw))
        {
            file.SetLength(DiskMegabytes << 20);
        }

        await Tool.RunOkAsync("mkfs.ext4", "-q", "-F", raw);
        await Tool.RunOkAsync("qemu-img", "convert", "-O", "qcow2", raw, path);
        File.Delete(raw);
    }
}
