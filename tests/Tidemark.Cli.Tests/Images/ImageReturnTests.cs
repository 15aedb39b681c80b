using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Images;

/// <summary>Images at rest that come back without their bitmap, or with an older one, through the built
/// program.</summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class ImageReturnTests : IDisposable
{
    private readonly ImageScene _scene = new();

    public void Dispose() => _scene.Dispose();

    [Fact]
    public async Task A_lost_bitmap_is_a_reread_that_says_why_and_stores_only_what_differs()
    {
        ImageScene.SkipWithout("qemu-img", "qemu-io");
        var image = await _scene.CreateImageAsync();
        await _scene.RunOkAsync("init");
        var first = await _scene.BackupAsync(image);
        await Tool.RunOkAsync("qemu-img", "bitmap", "--remove", image, ImageScene.Text(first, "checkpoint"));
        await ImageScene.WriteAsync(image, "write -P 0x55 1M 64k");

        var disk = ImageScene.Disk(await _scene.BackupAsync(image));

        Assert.Equal("re-read", ImageScene.Text(disk, "kind"));
        Assert.NotEmpty(ImageScene.Text(disk, "reason"));
        Assert.InRange(disk.GetProperty("bytes_stored").GetInt64(), 1, 2 << 20);
        await _scene.RunOkAsync("restore", "latest", "--to", _scene.File("r.raw"));
        await ImageScene.AssertSameAsync(_scene.File("r.raw"), "raw", image, "qcow2");

        // And from here on the new bitmap serves.
        Assert.Equal("incremental", ImageScene.Text(ImageScene.Disk(await _scene.BackupAsync(image)), "kind"));
        Assert.Equal("full", ImageScene.Text(ImageScene.Disk(await _scene.BackupAsync(image, "--full")), "kind"));
    }

    [Fact]
    public async Task An_image_that_comes_back_from_an_earlier_instant_is_an_increment_of_that_instant_only()
    {
        ImageScene.SkipWithout("qemu-img", "qemu-io");
        var image = await _scene.CreateImageAsync();
        await _scene.RunOkAsync("init");
        var first = await _scene.BackupAsync(image);

        // The image of the first instant comes back from elsewhere, with the bitmap of then, after a second backup. Its
        // bitmap tells what changed since the first restore point, and nothing of the second, which is newer.
        File.Copy(image, _scene.File("old.qcow2"));
        await ImageScene.WriteAsync(image, "write -P 0x66 2M 1M");
        await _scene.BackupAsync(image);
        File.Move(_scene.File("old.qcow2"), image, overwrite: true);

        await ImageScene.WriteAsync(image, "write -P 0x77 8M 1M");
        var disk = ImageScene.Disk(await _scene.BackupAsync(image));

        Assert.Equal("incremental", ImageScene.Text(disk, "kind"));
        Assert.Equal(ImageScene.Text(first, "snapshot_id"), ImageScene.Text(disk, "parent"));
        await _scene.RunOkAsync("restore", "latest", "--to", _scene.File("r.raw"));
        await ImageScene.AssertSameAsync(_scene.File("r.raw"), "raw", image, "qcow2");
    }
}
