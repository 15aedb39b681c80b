using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Testing;

namespace Tidemark.Blocks.Tests.Files;

public sealed class ImageLockTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();
    private readonly string _path;

    public ImageLockTests()
    {
        _path = _directory.File("disk.raw");
        File.WriteAllBytes(_path, new byte[1 << 20]);
    }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _directory.Dispose();

    [Fact]
    public async Task Two_readers_share_an_image()
    {
        await using var first = RawFileNode.Open("a", _path, readOnly: true);
        await using var second = RawFileNode.Open("b", _path, readOnly: true);
        Assert.Equal(first.Length, second.Length);
    }

    [Theory]
    [InlineData(false, false, "Failed to get \"write\" lock")]
    [InlineData(true, false, "Failed to get \"write\" lock")]
    [InlineData(false, true, "Failed to get shared \"write\" lock")]
    public async Task A_writer_excludes_everybody(bool firstReads, bool secondReads, string message)
    {
        await using var first = RawFileNode.Open("a", _path, firstReads);
        var error = Assert.Throws<BlockException>(() => RawFileNode.Open("b", _path, secondReads));
        Assert.Equal(BlockErrorKind.Locked, error.Kind);
        Assert.Equal($"{message}\nIs another process using the image [{_path}]?", error.Message);
    }

    [Fact]
    public async Task A_writer_that_becomes_a_reader_lets_readers_in_and_no_writer()
    {
        await using var first = RawFileNode.Open("a", _path, readOnly: false);
        await first.WriteAsync(0, new byte[] { 1, 2, 3 }, cancellationToken: Token);
        await first.SetReadOnlyAsync(true, Token);
        await Assert.ThrowsAsync<BlockException>(
            () => first.WriteAsync(0, new byte[1], cancellationToken: Token).AsTask());
        await using (var second = RawFileNode.Open("b", _path, readOnly: true))
        {
            // Beside a reader, who relies on it, nobody becomes a writer; and nothing is changed by the attempt.
            var error = await Assert.ThrowsAsync<BlockException>(
                () => first.SetReadOnlyAsync(false, Token).AsTask());
            Assert.Equal(BlockErrorKind.Locked, error.Kind);
            Assert.StartsWith("Failed to get \"write\" lock", error.Message, StringComparison.Ordinal);
            Assert.True(first.IsReadOnly);
            await using var third = RawFileNode.Open("c", _path, readOnly: true);
        }

        Assert.Throws<BlockException>(() => RawFileNode.Open("b", _path, readOnly: false));
        var read = new byte[3];
        await first.ReadAsync(0, read, Token);
        Assert.Equal([1, 2, 3], read);
    }

    [Fact]
    public async Task A_reader_that_becomes_a_writer_excludes_everybody_until_it_is_closed()
    {
        var first = RawFileNode.Open("a", _path, readOnly: true);
        Assert.True(first.IsUnchanging);
        await first.SetReadOnlyAsync(false, Token);
        Assert.False(first.IsUnchanging);
        await first.WriteAsync(7, new byte[] { 9 }, cancellationToken: Token);
        await first.FlushAsync(Token);
        Assert.Equal(9, (await File.ReadAllBytesAsync(_path, Token))[7]);
        Assert.Throws<BlockException>(() => RawFileNode.Open("b", _path, readOnly: true));
        await first.DisposeAsync();
        await using var second = RawFileNode.Open("b", _path, readOnly: false);
    }

    [Fact]
    public async Task It_is_the_open_file_that_becomes_writable_whatever_its_path_means_now()
    {
        await using var node = RawFileNode.Open("a", _path, readOnly: true);
        var moved = _directory.File("moved");
        File.Move(_path, moved);
        File.WriteAllBytes(_path, new byte[1 << 20]);
        await node.SetReadOnlyAsync(false, Token);
        await node.WriteAsync(0, new byte[] { 5 }, cancellationToken: Token);
        Assert.Equal(5, (await File.ReadAllBytesAsync(moved, Token))[0]);
        Assert.Equal(0, (await File.ReadAllBytesAsync(_path, Token))[0]);
    }

    [Fact]
    public async Task Who_shares_by_force_does_not_become_a_writer()
    {
        await using var node = RawFileNode.Open(
            "a", _path, new RawFileOptions { ReadOnly = true, ForceShare = true });
        var error = await Assert.ThrowsAsync<BlockException>(() => node.SetReadOnlyAsync(false, Token).AsTask());
        Assert.Contains("force-share", error.Message, StringComparison.Ordinal);
        Assert.True(node.IsReadOnly);
    }

    [Fact]
    public async Task Closing_lets_the_next_one_in()
    {
        var first = RawFileNode.Open("a", _path, readOnly: false);
        Assert.Throws<BlockException>(() => RawFileNode.Open("b", _path, readOnly: false));
        await first.DisposeAsync();
        await first.DisposeAsync();
        await using var second = RawFileNode.Open("b", _path, readOnly: false);
    }

    [Fact]
    public async Task A_refused_open_leaves_no_lock_behind()
    {
        var first = RawFileNode.Open("a", _path, readOnly: false);
        Assert.Throws<BlockException>(() => RawFileNode.Open("b", _path, readOnly: true));
        await first.DisposeAsync();
        await using var second = RawFileNode.Open("b", _path, readOnly: false);
    }

    [Fact]
    public async Task Who_shares_by_force_reads_beside_a_writer()
    {
        await using var writer = RawFileNode.Open("a", _path, readOnly: false);
        var options = new RawFileOptions { ReadOnly = true, ForceShare = true };
        await using var reader = RawFileNode.Open("b", _path, options);
        var error = Assert.Throws<BlockException>(
            () => RawFileNode.Open("c", _path, options with { ReadOnly = false }));
        Assert.Equal(BlockErrorKind.Invalid, error.Kind);
    }

    [Fact]
    public async Task Without_locking_nobody_is_asked()
    {
        await using var writer = RawFileNode.Open("a", _path, readOnly: false);
        await using var other = RawFileNode.Open("b", _path, new RawFileOptions { Locking = false });
        Assert.False(other.IsReadOnly);
    }

    [Fact]
    public void A_directory_or_nothing_is_refused_by_name()
    {
        Assert.Equal(
            BlockErrorKind.Invalid,
            Assert.Throws<BlockException>(() => RawFileNode.Open("a", _directory.Path, readOnly: true)).Kind);
        Assert.Equal(
            BlockErrorKind.NotFound,
            Assert.Throws<BlockException>(() => RawFileNode.Open("a", _path + "x", readOnly: true)).Kind);
        Assert.Contains(
            "directory",
            Assert.Throws<BlockException>(() => RawFileNode.Open("a", _directory.Path, readOnly: true)).Message);
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task Qemu_img_is_kept_out_by_our_writer_and_let_in_beside_our_reader()
    {
        var missing = Tool.Missing("qemu-img", "qemu-io");
        Assert.SkipWhen(missing is not null, missing ?? "");

        // A qcow2 image: its driver, unlike raw's, never lets anybody write beside it.
        var path = _directory.File("disk.qcow2");
        await Tool.RunOkAsync("qemu-img", "create", "-f", "qcow2", path, "1M");
        string[] write = ["-f", "qcow2", "-c", "write 0 64k", path];
        string[] read = ["-r", "-f", "qcow2", "-c", "read 0 64k", path];
        await using (RawFileNode.Open("a", path, readOnly: false))
        {
            var refused = await Tool.RunAsync("qemu-io", write);
            Assert.Contains("Failed to get \"write\" lock", refused.Error + refused.Output);
            refused = await Tool.RunAsync("qemu-io", read);
            Assert.Contains("Failed to get shared \"write\" lock", refused.Error + refused.Output);
            refused = await Tool.RunAsync("qemu-img", ["info", "-f", "qcow2", path]);
            Assert.NotEqual(0, refused.ExitCode);
            Assert.Contains(path, await Tool.RunOkAsync("qemu-img", "info", "-U", "-f", "qcow2", path));
        }

        await using (RawFileNode.Open("a", path, readOnly: true))
        {
            var refused = await Tool.RunAsync("qemu-io", write);
            Assert.Contains("Failed to get \"write\" lock", refused.Error + refused.Output);
            Assert.Contains("read 65536/65536", await Tool.RunOkAsync("qemu-io", read));
        }

        Assert.Contains("wrote 65536/65536", await Tool.RunOkAsync("qemu-io", write));
    }

    [Theory]
    [Trait("Category", "Interop")]
    [InlineData("raw", false)]
    [InlineData("qcow2", false)]
    [InlineData("qcow2", true)]
    public async Task We_are_kept_out_by_a_qemu_that_writes_and_let_in_beside_one_that_reads(
        string format, bool readOnly)
    {
        var missing = Tool.Missing("qemu-img", "qemu-storage-daemon");
        Assert.SkipWhen(missing is not null, missing ?? "");
        var path = _directory.File($"qemu.{format}");
        await Tool.RunOkAsync("qemu-img", "create", "-f", format, path, "1M");
        await using var daemon = await Daemon.StartAsync(_directory, path, format, readOnly);
        var refused = Assert.Throws<BlockException>(() => RawFileNode.Open("b", path, readOnly: false));
        Assert.Equal(BlockErrorKind.Locked, refused.Kind);
        if (readOnly)
        {
            await using var beside = RawFileNode.Open("b", path, readOnly: true);
        }
        else
        {
            Assert.Throws<BlockException>(() => RawFileNode.Open("b", path, readOnly: true));
            var options = new RawFileOptions { ReadOnly = true, ForceShare = true };
            await using var beside = RawFileNode.Open("b", path, options);
        }

        await daemon.DisposeAsync();
        await using var alone = RawFileNode.Open("b", path, readOnly: false);
    }

    /// <summary>A qemu-storage-daemon that has an image open.</summary>
    private sealed class Daemon(System.Diagnostics.Process process) : IAsyncDisposable
    {
        public static async Task<Daemon> StartAsync(
            TemporaryDirectory directory, string path, string format, bool readOnly)
        {
            // The pid file is written when everything on the command line is set up.
            var pidFile = directory.File("pid");
            var (mode, writable) = readOnly ? ("on", "off") : ("off", "on");
            var export = $"type=vhost-user-blk,id=e,node-name=d,addr.type=unix,addr.path={directory.File("s")}";
            var process = System.Diagnostics.Process.Start("qemu-storage-daemon", [
                "--blockdev", $"driver=file,node-name=f,filename={path},read-only={mode}",
                "--blockdev", $"driver={format},node-name=d,file=f,read-only={mode}",
                "--export", $"{export},writable={writable}",
                "--pidfile", pidFile]);
            for (var turn = 0; !File.Exists(pidFile); turn++)
            {
                Assert.False(process.HasExited, "qemu-storage-daemon ended at once");
                Assert.True(turn < 1000, "qemu-storage-daemon did not come up");
                await Task.Delay(TimeSpan.FromMilliseconds(10), Token);
            }

            return new Daemon(process);
        }

        public async ValueTask DisposeAsync()
        {
            if (!process.HasExited)
            {
                process.Kill();
            }

            await process.WaitForExitAsync(Token);
        }

        private static CancellationToken Token => TestContext.Current.CancellationToken;
    }
}
