using Tidemark.Interop.Tests.Guests;
using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Interop.Tests.Programs;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary>
/// What an increment does not need is not read: the disk's image lies behind a server that writes down each request,
/// and of the clusters that the bitmap does not name not one is asked for: by push and by pull, into a repository and
/// by the verbs of a domain.
/// </summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class ReadsTests
{
    private const int Granule = 64 << 10;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Versions.Somewhere), MemberType = typeof(Versions))]
    public async Task Nothing_outside_of_the_bitmap_is_read(HypervisorKind kind, string version)
    {
        Scene.SkipUnlessPossible("nbdkit");
        await using var scene = await Scene.CreateAsync(
            kind, diskCount: 1, version: Versions.Need(version), starts: false);
        var path = scene.Hypervisor.DiskPath(0);
        var places = await LoggedImage.MapAsync(path);
        // Room behind the last cluster: a server's file does not grow.
        await using (var file = File.OpenWrite(path))
        {
            file.SetLength(file.Length + (8 << 20));
        }

        await using var image = await LoggedImage.ServeAsync(path, Path.Combine(scene.Folder, "cache"), Token);
        scene.Hypervisor.SetDiskSocket(0, image.Socket);
        await scene.Hypervisor.StartAsync(Token);

        var (full, _) = await BackupAsync(scene, image, "pull");
        Assert.Equal("full", Assert.Single(full.Kinds));
        // The log tells: a full backup reads all that there is.
        Assert.Empty(places.Keys.Except(Granules(image.ReadsSince(0), places)));

        foreach (var mode in new[] { "push", "pull" })
        {
            long[] slots = [(20 << 20) / GuestWrites.SlotLength, (24 << 20) / GuestWrites.SlotLength];
            foreach (var slot in slots)
            {
                await scene.WriteAsync(0, slot);
            }

            var dirty = slots.Select(slot => slot * GuestWrites.SlotLength / Granule).ToHashSet();
            var (point, read) = await BackupAsync(scene, image, mode);
            Assert.Equal("incremental", Assert.Single(point.Kinds));
            Assert.Equal(dirty.Order(), Granules(read, places).Order());
            Assert.Equal(scene.Writes.Completed, await scene.CheckRestoredAsync(point));
        }

        await DoAsync(scene, scene.Hypervisor.MonitorPath, "checkpoint-create-as", "c1");
        var written = (28 << 20) / GuestWrites.SlotLength;
        await scene.WriteAsync(0, written);
        Assert.Equal(
            [(long)written * GuestWrites.SlotLength / Granule], Granules(await PushAsync(scene, image), places));
    }

    // An increment by the verbs of a domain.
    private static async Task<List<(long Offset, long Length)>> PushAsync(Scene scene, LoggedImage image)
    {
        var xml = Path.Combine(scene.Folder, "cache", "push.xml");
        await File.WriteAllTextAsync(
            xml,
            "<domainbackup><incremental>c1</incremental><disks><disk name='vda' type='file'>"
                + $"<target file='{Path.Combine(scene.Folder, "cache", "target")}'/></disk></disks></domainbackup>",
            Token);
        await using var proxy = new MonitorProxy(
            Path.Combine(scene.Folder, "proxy.sock"), scene.Hypervisor.MonitorPath);
        long position = 0;
        proxy.Before = () => position = image.Position;
        await DoAsync(scene, proxy.Path, "backup-begin", xml, "--wait");
        return image.ReadsSince(position);
    }

    private static Task DoAsync(Scene scene, string monitor, params string[] verb) => scene.Tidemark.RunOkAsync(
        ["domain", .. verb, "--monitor", $"qmp:{monitor}", "--domain", "vm"]);

    // The reads are those from the transaction's reply to the end.
    private static async Task<(Scene.Point Point, List<(long Offset, long Length)> Reads)> BackupAsync(
        Scene scene, LoggedImage image, string mode)
    {
        await using var proxy = new MonitorProxy(
            Path.Combine(scene.Folder, "proxy.sock"), scene.Hypervisor.MonitorPath);
        long position = 0;
        proxy.Before = () => position = image.Position;
        var writes = scene.Writes.Completed;
        var report = await scene.Tidemark.BackupAsync(
            $"qmp:{proxy.Path}", ["--mode", mode, .. scene.Hypervisor.NbdOptions]);
        return (new Scene.Point(report, writes, writes), image.ReadsSince(position));
    }

    // The guest's granules of which the file's ranges hold something.
    private static HashSet<long> Granules(List<(long Offset, long Length)> reads, Dictionary<long, long> places) =>
    [
        .. from place in places
           where reads.Exists(read => read.Offset < place.Value + Granule && place.Value < read.Offset + read.Length)
           select place.Key,
    ];
}
