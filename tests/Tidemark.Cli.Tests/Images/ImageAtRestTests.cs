using System.Text.Json;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Images;

/// <summary>Backups of images that nobody has open, through the built
/// program, with QEMU's programs as the guest and the judge.</summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class ImageAtRestTests : IDisposable
{
    private readonly ImageScene _scene = new();

    public void Dispose() => _scene.Dispose();

    [Theory]
    [InlineData("pull")]
    [InlineData("push")]
    public async Task The_second_backup_is_incremental_and_both_points_restore(string mode)
    {
        ImageScene.SkipWithout("qemu-img", "qemu-io");
        var image = await _scene.CreateImageAsync();
        await _scene.RunOkAsync("init");

        var first = await _scene.BackupAsync(image, "--mode", mode);
        Assert.Equal(("vm", mode), (first.GetProperty("name").GetString(), first.GetProperty("mode").GetString()));
        var disk = ImageScene.Disk(first);
        Assert.Equal(("disk0", "full"), (ImageScene.Text(disk, "name"), ImageScene.Text(disk, "kind")));
        Assert.Equal(64 << 20, disk.GetProperty("size").GetInt64());
        Assert.Equal(JsonValueKind.Null, disk.GetProperty("parent").ValueKind);
        await Tool.RunOkAsync("qemu-img", "check", "-q", image);
        File.Copy(image, _scene.File("copy.qcow2"));

        await ImageScene.WriteAsync(image, "write -P 0x33 4M 100k", "write -z 21M 1M", "write -P 0x44 60M 64k");
        var second = await _scene.BackupAsync(image, "--mode", mode);
        disk = ImageScene.Disk(second);
        Assert.Equal("incremental", ImageScene.Text(disk, "kind"));
        Assert.Equal(ImageScene.Text(first, "snapshot_id"), ImageScene.Text(disk, "parent"));
        Assert.InRange(disk.GetProperty("bytes_dirty").GetInt64(), 1, 2 << 20);
        Assert.InRange(disk.GetProperty("bytes_read").GetInt64(), 1, 8 << 20);
        await Tool.RunOkAsync("qemu-img", "check", "-q", image);

        await _scene.RunOkAsync("restore", ImageScene.Text(first, "snapshot_id"), "--to", _scene.File("1.raw"));
        await _scene.RunOkAsync("restore", "latest:disk0", "--to", _scene.File("2.qcow2"), "--format", "qcow2");
        await ImageScene.AssertSameAsync(_scene.File("1.raw"), "raw", _scene.File("copy.qcow2"), "qcow2");
        await ImageScene.AssertSameAsync(_scene.File("2.qcow2"), "qcow2", image, "qcow2");
        await Tool.RunOkAsync("qemu-img", "check", "-q", _scene.File("2.qcow2"));
        _scene.AssertNothingLeft("disk.qcow2", "copy.qcow2", "1.raw", "2.qcow2");
    }

    [Fact]
    public async Task Snapshots_lists_both_points_with_their_disks()
    {
        ImageScene.SkipWithout("qemu-img", "qemu-io");
        var image = await _scene.CreateImageAsync();
        await _scene.RunOkAsync("init");
        Assert.Equal("[]\n", await _scene.RunOkAsync("snapshots", "--json"));
        var first = await _scene.BackupAsync(image);
        var second = await _scene.BackupAsync(image);

        using var list = JsonDocument.Parse(await _scene.RunOkAsync("snapshots", "--json"));
        Assert.Equal(
            [ImageScene.Text(first, "snapshot_id"), ImageScene.Text(second, "snapshot_id")],
            list.RootElement.EnumerateArray().Select(snapshot => ImageScene.Text(snapshot, "id")));
        var last = list.RootElement[1];
        Assert.Equal(ImageScene.Text(last, "id")[..8], ImageScene.Text(last, "short_id"));
        Assert.Equal(("vm", "pull"), (ImageScene.Text(last, "name"), ImageScene.Text(last, "mode")));
        Assert.Equal(ImageScene.Text(second, "checkpoint"), ImageScene.Text(last, "checkpoint"));
        Assert.True(DateTimeOffset.TryParse(ImageScene.Text(last, "time"), out _));
        var disk = Assert.Single(last.GetProperty("disks").EnumerateArray());
        Assert.Equal(("disk0", "incremental"), (ImageScene.Text(disk, "name"), ImageScene.Text(disk, "kind")));
        Assert.Equal(64 << 20, disk.GetProperty("size").GetInt64());

        var table = await _scene.RunOkAsync("snapshots");
        Assert.Contains(ImageScene.Text(first, "snapshot_id")[..8], table);
        Assert.Contains("64.0 MiB", table);
    }

    [Fact]
    public async Task A_backing_chain_is_read_through_and_its_base_is_not_changed()
    {
        ImageScene.SkipWithout("qemu-img", "qemu-io");
        var image = await _scene.CreateImageAsync("base.qcow2");
        Directory.CreateDirectory(_scene.File("sub"));
        var overlay = _scene.File("sub/top.qcow2");
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", "-b", "../base.qcow2", "-F", "qcow2", overlay);
        await ImageScene.WriteAsync(overlay, "write -P 0x77 2M 1M", "write -z 4M 1M");
        var before = await File.ReadAllBytesAsync(image, TestContext.Current.CancellationToken);
        await _scene.RunOkAsync("init");

        await _scene.BackupAsync(overlay);
        await ImageScene.WriteAsync(overlay, "write -P 0x78 12M 1M");
        Assert.Equal("incremental", ImageScene.Text(ImageScene.Disk(await _scene.BackupAsync(overlay)), "kind"));

        await _scene.RunOkAsync("restore", "latest", "--to", _scene.File("r.raw"));
        await ImageScene.AssertSameAsync(_scene.File("r.raw"), "raw", overlay, "qcow2");
        Assert.Equal(before, await File.ReadAllBytesAsync(image, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task An_image_that_is_open_elsewhere_is_refused()
    {
        ImageScene.SkipWithout("qemu-img", "qemu-io", "qemu-nbd");
        var image = await _scene.CreateImageAsync();
        await _scene.RunOkAsync("init");
        var socket = _scene.File("n.sock");
        using var holder = System.Diagnostics.Process.Start("qemu-nbd", ["-f", "qcow2", "-k", socket, "-t", image]);
        try
        {
            while (!File.Exists(socket))
            {
                await Task.Delay(TimeSpan.FromMilliseconds(20), TestContext.Current.CancellationToken);
            }

            var error = await _scene.RunFailsAsync("backup", image, "--name", "vm");
            Assert.Contains(image, error);
        }
        finally
        {
            holder.Kill();
            await holder.WaitForExitAsync(TestContext.Current.CancellationToken);
        }

        Assert.Equal("full", ImageScene.Text(ImageScene.Disk(await _scene.BackupAsync(image)), "kind"));
    }
}
