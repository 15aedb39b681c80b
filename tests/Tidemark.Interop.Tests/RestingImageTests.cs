using System.Text.Json;
using Tidemark.Interop.Tests.Programs;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary>Images that nobody has open: the same verbs, the embedded
/// engine as the hypervisor, QEMU as the judge.</summary>
[Trait("Category", "Interop")]
public sealed class RestingImageTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("pull")]
    [InlineData("push")]
    public async Task A_qcow2_image_keeps_its_mark_through_writes_of_QEMU(string mode)
    {
        Scene.SkipUnlessPossible();
        using var folder = new TemporaryDirectory();
        var tidemark = new TidemarkProgram(folder.Path);
        var image = folder.File("disk.qcow2");
        await Scene.CreateDiskAsync(image, seed: 9);
        await tidemark.RunOkAsync("init", "--repo", tidemark.Repository);

        Assert.Equal("full", Kind(await tidemark.BackupAsync(image, "--mode", mode)));
        await Tool.RunOkAsync("qemu-io", "-c", "write -P 77 3M 100k", "-c", "discard 20M 2M", image);
        var report = await tidemark.BackupAsync(image, "--mode", mode);
        Assert.Equal("incremental", Kind(report));
        await Tool.RunOkAsync("qemu-img", "check", "-q", image);

        var target = folder.File("restored.qcow2");
        await tidemark.RunOkAsync(
            "restore", "latest", "--repo", tidemark.Repository, "--to", target, "--format", "qcow2");
        await Tool.RunOkAsync("qemu-img", "check", "-q", target);
        await Tool.RunOkAsync("qemu-img", "compare", image, target);

        // QEMU itself holds the mark for a good one.
        using var info = JsonDocument.Parse(await Tool.RunOkAsync("qemu-img", "info", "--output=json", image));
        var bitmap = Assert.Single(info.RootElement.GetProperty("format-specific").GetProperty("data")
            .GetProperty("bitmaps").EnumerateArray());
        Assert.Equal("auto", Assert.Single(bitmap.GetProperty("flags").EnumerateArray()).GetString());
        Assert.Equal(["disk.qcow2"], Directory.EnumerateFiles(folder.Path, "disk*").Select(Path.GetFileName));
    }

    [Fact]
    public async Task A_raw_image_is_read_again_and_only_what_differs_is_stored()
    {
        Scene.SkipUnlessPossible();
        using var folder = new TemporaryDirectory();
        var tidemark = new TidemarkProgram(folder.Path);
        var image = folder.File("disk.raw");
        var bytes = new byte[Scene.DiskLength];
        new Random(6).NextBytes(bytes.AsSpan(0, 20 << 20));
        await File.WriteAllBytesAsync(image, bytes, Token);
        await tidemark.RunOkAsync("init", "--repo", tidemark.Repository);

        Assert.Equal("full", Kind(await tidemark.BackupAsync(image)));
        bytes[(7 << 20) + 5] ^= 1;
        await File.WriteAllBytesAsync(image, bytes, Token);
        var report = await tidemark.BackupAsync(image);
        Assert.Equal("re-read", Kind(report));
        var disk = Assert.Single(report.GetProperty("disks").EnumerateArray());
        Assert.NotEqual("", disk.GetProperty("reason").GetString());
        Assert.InRange(disk.GetProperty("bytes_stored").GetInt64(), 1, 3 << 20);

        Scene.AssertSame(bytes, await tidemark.RestoreAsync("latest", "disk0"));
        await tidemark.ResticAsync("check", "--read-data");
    }

    [Fact]
    public async Task An_image_that_is_open_elsewhere_is_refused()
    {
        Scene.SkipUnlessPossible();
        await using var scene = await Scene.CreateAsync(Hypervisors.HypervisorKind.QemuStorageDaemon, diskCount: 1);
        var said = await scene.Tidemark.BackupFailsAsync(scene.Hypervisor.DiskPath(0));
        Assert.Contains("vda.qcow2", said);
        Assert.Contains("lock", said, StringComparison.OrdinalIgnoreCase);
        await scene.AssertNothingLeftAsync();
    }

    [Fact]
    public async Task A_mark_that_QEMU_lost_leads_to_a_re_read_of_that_disk()
    {
        Scene.SkipUnlessPossible();
        using var folder = new TemporaryDirectory();
        var tidemark = new TidemarkProgram(folder.Path);
        var image = folder.File("disk.qcow2");
        await Scene.CreateDiskAsync(image, seed: 9);
        await tidemark.RunOkAsync("init", "--repo", tidemark.Repository);
        var first = await tidemark.BackupAsync(image);
        using (var info = JsonDocument.Parse(await Tool.RunOkAsync("qemu-img", "info", "--output=json", image)))
        {
            var name = info.RootElement.GetProperty("format-specific").GetProperty("data").GetProperty("bitmaps")[0]
                .GetProperty("name").GetString()!;
            await Tool.RunOkAsync("qemu-img", "bitmap", "--remove", image, name);
        }

        await Tool.RunOkAsync("qemu-io", "-c", "write -P 78 9M 100k", image);
        var report = await tidemark.BackupAsync(image);
        Assert.Equal("re-read", Kind(report));
        Assert.NotEqual("", report.GetProperty("disks")[0].GetProperty("reason").GetString());
        Assert.NotEqual(first.GetProperty("snapshot_id").GetString(), report.GetProperty("snapshot_id").GetString());
        var raw = folder.File("now.raw");
        await Tool.RunOkAsync("qemu-img", "convert", "-O", "raw", image, raw);
        Scene.AssertSame(await File.ReadAllBytesAsync(raw, Token), await tidemark.RestoreAsync("latest", "disk0"));
        Assert.Equal("incremental", Kind(await tidemark.BackupAsync(image)));
    }

    private static string Kind(JsonElement report) =>
        Assert.Single(report.GetProperty("disks").EnumerateArray()).GetProperty("kind").GetString()!;
}
