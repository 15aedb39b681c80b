using System.Text.Json;
using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary>
/// The promise itself: two disks of a guest that writes without pause, five points of alternating mode, each of them
/// one instant of both disks together, all but the first incremental, and nothing left behind after any.
/// </summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class PointsInTimeTests
{
    private const int PointCount = 5;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(HypervisorKind.QemuStorageDaemon)]
    [InlineData(HypervisorKind.EmbeddedEngine)]
    [InlineData(HypervisorKind.QemuSystem)]
    public async Task Five_points_of_two_disks_under_writes_are_five_instants(HypervisorKind kind)
    {
        Scene.SkipUnlessPossible();
        await using var scene = await Scene.CreateAsync(kind);
        // The emulator's guest can be told apart by 250 writes only, so it writes slowly, and ever more slowly.
        var slow = kind == HypervisorKind.QemuSystem;
        scene.Guest.Start(seed: 2, TimeSpan.FromMilliseconds(slow ? 60 : 2), tires: slow);

        var points = new List<Scene.Point>();
        for (var index = 0; index < PointCount; index++)
        {
            await scene.Guest.WriteMoreAsync(slow ? 10 : 200, Token);
            points.Add(await scene.BackupAsync(index % 2 == 0 ? "pull" : "push"));
            await scene.AssertNothingLeftAsync();
        }

        await scene.Guest.StopAsync();
        AssertKinds(points);
        var instants = new List<int>();
        foreach (var point in points)
        {
            instants.Add(await scene.CheckRestoredAsync(point));
        }

        Assert.Equal(instants.Order(), instants);
        Assert.True(instants[^1] > instants[0], "the points do not differ");
        await AssertResticAgreesAsync(scene, points);

        await scene.Hypervisor.StopAsync(Token);
        for (var disk = 0; disk < scene.Hypervisor.DiskCount; disk++)
        {
            await Tool.RunOkAsync("qemu-img", "check", "-q", scene.Hypervisor.DiskPath(disk));
        }
    }

    [Theory]
    [InlineData(HypervisorKind.QemuStorageDaemon)]
    [InlineData(HypervisorKind.EmbeddedEngine)]
    [InlineData(HypervisorKind.QemuSystem)]
    public async Task A_push_first_and_a_restart_between_points(HypervisorKind kind)
    {
        Scene.SkipUnlessPossible();
        await using var scene = await Scene.CreateAsync(kind, diskCount: 1);
        var points = new List<Scene.Point>();
        foreach (var mode in new[] { "push", "pull", "push" })
        {
            for (var write = 0; write < 20; write++)
            {
                await scene.WriteAsync(disk: 0, slot: (points.Count * 1000) + (write * 3));
            }

            points.Add(await scene.BackupAsync(mode));
            await scene.AssertNothingLeftAsync();
            // Closed and opened again: the checkpoint is in the image, and still good.
            await scene.Hypervisor.StopAsync(Token);
            await scene.Hypervisor.StartAsync(Token);
        }

        AssertKinds(points);
        foreach (var point in points)
        {
            Assert.Equal(point.AtLeast, await scene.CheckRestoredAsync(point));
        }
    }

    [Fact]
    public async Task One_mark_for_two_hypervisors()
    {
        // The same image under QEMU and, at rest, under the embedded engine: each continues the other's increments.
        Scene.SkipUnlessPossible();
        await using var scene = await Scene.CreateAsync(HypervisorKind.QemuStorageDaemon, diskCount: 1);
        var points = new List<Scene.Point>();
        foreach (var mode in new[] { "pull", "push", "pull", "push" })
        {
            await scene.WriteAsync(0, 900 * points.Count);
            points.Add(await scene.BackupAsync(mode, "--disk", "disk0=vda"));
            await scene.WriteAsync(0, (900 * points.Count) + 100);
            await scene.Hypervisor.StopAsync(Token);
            var image = await scene.Tidemark.BackupAsync(scene.Hypervisor.DiskPath(0), "--mode", mode);
            points.Add(new Scene.Point(image, scene.Writes.Completed, scene.Writes.Completed));
            await scene.Hypervisor.StartAsync(Token);
        }

        AssertKinds(points);
        foreach (var point in points)
        {
            Assert.Equal(point.AtLeast, await scene.CheckRestoredAsync(point, "disk0"));
        }
    }

    private static void AssertKinds(List<Scene.Point> points)
    {
        Assert.All(points[0].Kinds, kind => Assert.Equal("full", kind));
        foreach (var disk in points.Skip(1).SelectMany(point => point.Disks))
        {
            Assert.True(disk.GetProperty("kind").GetString() == "incremental", disk.ToString());
            Assert.True(disk.GetProperty("bytes_read").GetInt64() < Scene.DiskLength, $"read whole: {disk}");
        }
    }

    private static async Task AssertResticAgreesAsync(Scene scene, List<Scene.Point> points)
    {
        await scene.Tidemark.ResticAsync("check", "--read-data");
        using var listed = JsonDocument.Parse(await scene.Tidemark.ResticAsync("snapshots", "--json"));
        var ids = listed.RootElement.EnumerateArray().Select(snapshot => snapshot.GetProperty("id").GetString()!);
        Assert.Equal(points.Select(point => point.SnapshotId).Order(), ids.Order());

        var middle = points[points.Count / 2];
        var target = Path.Combine(scene.Folder, "cache", "by-restic");
        await scene.Tidemark.ResticAsync("restore", middle.SnapshotId, "--target", target);
        foreach (var name in scene.Hypervisor.DiskNames)
        {
            var file = Directory.EnumerateFiles(target, $"{name}.raw", SearchOption.AllDirectories).Single();
            var ours = await scene.Tidemark.RestoreAsync(middle.SnapshotId, name);
            Scene.AssertSame(ours, await File.ReadAllBytesAsync(file, Token));
        }
    }
}
