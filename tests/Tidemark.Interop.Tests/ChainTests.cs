using System.Text.Json;
using Tidemark.Interop.Tests.Chains;
using Tidemark.Interop.Tests.Hypervisors;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary>
/// The matrix: each QEMU and storage daemon and the embedded engine, push and pull, disks that are chains of three
/// images; full, incremental, incremental across an external snapshot, across its commit, and after a restart. Every
/// restored point is the state at its transaction, to the byte, though the guest writes on at once; and an increment
/// is exactly the granules that the guest has written since.
/// </summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class ChainTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Each hypervisor and version with one disk or with three; with both when asked for.</summary>
    public static TheoryData<HypervisorKind, string, int> Cells
    {
        get
        {
            var data = new TheoryData<HypervisorKind, string, int>();
            foreach (var ((kind, version), index) in Versions.Some.Select((each, index) => (each, index)))
            {
                foreach (var diskCount in new[] { 1, 3 })
                {
                    // The storage daemon of one version with three disks, its emulator with one; the next vice versa.
                    if (Soak.IsAsked || (index % 4 is 0 or 3) == (diskCount == 3))
                    {
                        data.Add(kind, version, diskCount);
                    }
                }
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Cells))]
    public async Task Every_point_is_its_instant_and_every_increment_what_was_written(
        HypervisorKind kind, string version, int diskCount)
    {
        await using var scene = await ChainScene.CreateAsync(kind, version, diskCount);
        await scene.Tidemark.RunOkAsync("init", "--repo", scene.Tidemark.Repository);
        List<(string SnapshotId, int Writes)> points = [];
        var modes = diskCount == 1 ? new[] { "push", "pull" } : ["pull", "push"];
        points.Add(await BackupAsync(scene, modes[0], "full"));
        foreach (var mode in modes)
        {
            await scene.WriteAsync();
            points.Add(await BackupAsync(scene, mode, "incremental"));

            await scene.WriteAsync(perDisk: 2);
            await scene.Layers.SnapshotAsync(ChainScene.DiskLength);
            await scene.WriteAsync(perDisk: 2);
            points.Add(await BackupAsync(scene, mode, "incremental"));

            await scene.WriteAsync(perDisk: 2);
            await scene.Layers.CommitAsync(() => scene.WriteAsync(perDisk: 2));
            await scene.WriteAsync(perDisk: 2);
            points.Add(await BackupAsync(scene, mode, "incremental"));

            await scene.RestartAsync();
            await scene.WriteAsync(perDisk: 2);
            points.Add(await BackupAsync(scene, mode, "incremental"));
        }

        foreach (var (snapshot, writes) in points)
        {
            var disks = new byte[diskCount][];
            for (var disk = 0; disk < diskCount; disk++)
            {
                disks[disk] = await scene.Tidemark.RestoreAsync(snapshot, Hypervisor.DiskName(disk));
            }

            scene.CheckInstant(disks, writes);
        }
    }

    // A backup, the guest writing on from its instant; it is of this kind, exact, and leaves nothing.
    private static async Task<(string SnapshotId, int Writes)> BackupAsync(
        ChainScene scene, string mode, string kind)
    {
        var before = scene.Dirty.Select(granules => (long)granules.Count * ChainScene.Granule).ToArray();
        await using var proxy = new MonitorProxy(
            Path.Combine(scene.Folder, "proxy.sock"), scene.Hypervisor.MonitorPath);
        var writes = 0;
        proxy.Interrupt = async () =>
        {
            writes = scene.Writes.Completed;
            var increment = scene.Dirty.Select(granules => granules.Order().ToArray()).ToArray();
            scene.ForgetDirty();
            await scene.OverwriteAsync(increment);
            return true;
        };
        var disks = Enumerable.Range(0, scene.Hypervisor.DiskCount).SelectMany(disk =>
            new[] { "--disk", $"{Hypervisor.DiskName(disk)}={scene.Layers.Active(disk)}" });
        JsonElement report;
        try
        {
            report = await scene.Tidemark.BackupAsync(
                $"qmp:{proxy.Path}", ["--mode", mode, .. scene.Hypervisor.NbdOptions, .. disks]);
        }
        catch (InvalidOperationException exception)
        {
            throw new InvalidOperationException(
                $"{kind} {mode}: {exception.Message}\n{scene.Hypervisor.Fate}\n{proxy.Failure}", exception);
        }

        Assert.Null(proxy.Interrupt);
        foreach (var (index, disk) in report.GetProperty("disks").EnumerateArray().Index())
        {
            Assert.True(disk.GetProperty("kind").GetString() == kind, $"{mode}: {disk}");
            if (kind == "incremental")
            {
                Assert.True(disk.GetProperty("bytes_dirty").GetInt64() == before[index], $"{before[index]}: {disk}");
                Assert.True(disk.GetProperty("bytes_read").GetInt64() <= before[index], $"{before[index]}: {disk}");
            }
        }

        return (report.GetProperty("snapshot_id").GetString()!, writes);
    }
}
