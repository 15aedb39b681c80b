using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Nbd;

/// <summary><c>nbd serve</c>: its options, its end, and the peers' clients on it.</summary>
public sealed class NbdServeCommandTests : IDisposable
{
    private const int Length = 2 << 20;

    private readonly TemporaryDirectory _folder = new();

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private string Socket => _folder.File("nbd.sock");

    public void Dispose() => _folder.Dispose();

    private string Raw(string name = "disk.raw")
    {
        var bytes = new byte[Length];
        new Random(3).NextBytes(bytes.AsSpan(0, Length / 2));
        File.WriteAllBytes(_folder.File(name), bytes);
        return _folder.File(name);
    }

    [Fact]
    public async Task Serves_until_it_is_stopped_and_removes_its_socket()
    {
        var disk = Raw();
        await using var serving = await NbdServing.StartAsync(
            disk, "--format", "raw", "--socket", Socket, "--export", "a b");
        Assert.Equal($"nbd+unix:///a%20b?socket={Socket}", serving.Uri);
        Assert.Empty(serving.Error);
        await using (var client = await ConnectAsync(serving))
        {
            await client.WriteAsync(4096, new byte[] { 1, 2, 3 }, cancellationToken: Cancellation);
        }

        Assert.Equal(ExitCode.Success, await serving.StopAsync());
        Assert.False(File.Exists(Socket));
        Assert.Equal([1, 2, 3], File.ReadAllBytes(disk).AsSpan(4096, 3).ToArray());
    }

    [Fact]
    public async Task Listens_on_a_port_of_the_systems_choice_and_refuses_writes_if_read_only()
    {
        await using var serving = await NbdServing.StartAsync(Raw(), "-f", "raw", "--port", "0", "--read-only");
        Assert.StartsWith("nbd://127.0.0.1:", serving.Uri, StringComparison.Ordinal);
        Assert.NotEqual(0, NbdUri.Parse(serving.Uri).EndPoint.Port);
        await using var client = await ConnectAsync(serving);
        Assert.True(client.IsReadOnly);
        await Assert.ThrowsAsync<NbdException>(() =>
            client.WriteAsync(0, new byte[512], cancellationToken: Cancellation).AsTask());
    }

    [Fact]
    public async Task Ends_when_the_last_client_leaves_if_told_to()
    {
        await using var serving = await NbdServing.StartAsync(Raw(), "-f", "raw", "-k", Socket, "--once");
        var second = await ConnectAsync(serving);
        await using (await ConnectAsync(serving))
        {
        }

        await second.ReadAsync(0, new byte[512], Cancellation);
        await second.DisposeAsync();
        Assert.Equal(ExitCode.Success, await serving.EndAsync());
        Assert.False(File.Exists(Socket));
    }

    [Fact]
    public async Task A_guessed_raw_disk_is_told_of_and_cannot_become_an_image()
    {
        var disk = Raw();
        await using var serving = await NbdServing.StartAsync(disk, "-k", Socket);
        Assert.Contains("--format raw", serving.Error, StringComparison.Ordinal);
        await using var client = await ConnectAsync(serving);
        var magic = new byte[512];
        "QFI"u8.CopyTo(magic);
        magic[3] = 0xfb;
        var refused = await Assert.ThrowsAsync<NbdException>(() =>
            client.WriteAsync(0, magic, cancellationToken: Cancellation).AsTask());
        Assert.Equal(NbdError.EPERM, refused.Error);
        magic[3] = 0;
        await client.WriteAsync(0, magic, cancellationToken: Cancellation);
    }

    [Fact]
    public async Task With_one_connection_no_second_one_is_offered()
    {
        await using var serving = await NbdServing.StartAsync(Raw(), "-f", "raw", "-k", Socket, "--connections", "1");
        await using var client = await ConnectAsync(serving);
        Assert.False(client.CanMultiConnection);
    }

    [Fact]
    public async Task What_cannot_be_served_is_refused_before_a_socket_is_made()
    {
        var disk = Raw();
        string[][] commands =
        [
            [disk, "-k", Socket, "--port", "1"], [disk, "-k", Socket, "--once", "--persistent"],
            [disk, "-k", Socket, "--connections", "0"], [disk, "-k", Socket, "--format", "vmdk"],
            [disk, "--port", "65536"],
        ];
        foreach (var command in commands)
        {
            Assert.Equal(ExitCode.Usage, (await RunAsync(command)).Code);
        }

        Assert.Contains("b7", (await RunAsync(disk, "-k", Socket, "-f", "raw", "--bitmap", "b7")).Error);
        Assert.Contains("nothing", (await RunAsync(_folder.File("nothing"), "-k", Socket)).Error);
        Assert.False(File.Exists(Socket));

        using var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var port = ((IPEndPoint)taken.LocalEndpoint).Port;
        Assert.Equal(ExitCode.Failure, (await RunAsync(disk, "-f", "raw", "--port", $"{port}")).Code);
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task Extents_depths_and_bitmaps_equal_those_of_qemu_nbd()
    {
        var missing = Tool.Missing("nbdinfo", "qemu-nbd", "qemu-img", "qemu-io", "nbdcopy");
        Assert.SkipWhen(missing is not null, missing ?? "");
        await TestSeed.RunAsync(async random =>
        {
            var image = await NbdDisk.CreateRandomAsync(_folder, random);
            var theirSocket = _folder.File("theirs.sock");
            File.Delete(theirSocket);
            using var theirs = await NbdPeer.StartAsync(
                theirSocket, "qemu-nbd", "-k", theirSocket, "-r", "-t", "-f", "qcow2", "-e", "4", "-A", "-B", "b0",
                image);
            await using var ours = await NbdServing.StartAsync(
                image, "-k", Socket, "-r", "-f", "qcow2", "--allocation-depth", "--bitmap", "b0");
            var theirUri = $"nbd+unix:///?socket={theirSocket}";
            foreach (var context in
                new[] { "base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:b0" })
            {
                Assert.Equal(
                    await Tool.RunOkAsync("nbdinfo", $"--map={context}", theirUri),
                    await Tool.RunOkAsync("nbdinfo", $"--map={context}", ours.Uri));
            }

            await Tool.RunOkAsync("nbdcopy", theirUri, _folder.File("theirs.raw"));
            await Tool.RunOkAsync("nbdcopy", ours.Uri, _folder.File("ours.raw"));
            Assert.Equal(File.ReadAllBytes(_folder.File("theirs.raw")), File.ReadAllBytes(_folder.File("ours.raw")));
        });
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task Qemu_io_nbdcopy_and_fio_write_through_an_image_that_stays_whole()
    {
        var missing = Tool.Missing("qemu-img", "qemu-io", "nbdcopy", "fio");
        Assert.SkipWhen(missing is not null, missing ?? "");
        var image = await NbdDisk.CreateAsync(_folder);
        await using (var serving = await NbdServing.StartAsync(image, "-k", Socket, "-f", "qcow2"))
        {
            var io = await Tool.RunOkAsync(
                "qemu-io", "-f", "raw", "-c", "write -P 7 1M 300k", "-c", "read -P 7 1M 300k", "-c", "write -z 0 64k",
                "-c", "discard 2M 64k", "-c", "flush", "-c", "read -P 0 0 64k", serving.Uri);
            Assert.DoesNotContain("fail", io, StringComparison.OrdinalIgnoreCase);
            await Tool.RunOkAsync("nbdcopy", serving.Uri, _folder.File("before.raw"));
            await Tool.RunOkAsync("nbdcopy", "--flush", _folder.File("before.raw"), serving.Uri);
            await Tool.RunOkAsync("nbdcopy", serving.Uri, _folder.File("after.raw"));
            Assert.Equal(File.ReadAllBytes(_folder.File("before.raw")), File.ReadAllBytes(_folder.File("after.raw")));
            await Tool.RunOkAsync(
                "fio", "--name=verify", "--ioengine=nbd", $"--uri={serving.Uri}", "--rw=randwrite", "--bs=4k",
                "--iodepth=16", "--size=4m", "--verify=crc32c", "--do_verify=1");
            Assert.Equal(ExitCode.Success, await serving.StopAsync());
        }

        await Tool.RunOkAsync("qemu-img", "check", "-q", image);
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task Nbdfuse_shows_the_disk_as_a_file()
    {
        var missing = Tool.Missing("nbdfuse", "umount");
        Assert.SkipWhen(missing is not null, missing ?? "");
        Assert.SkipWhen(!File.Exists("/dev/fuse"), "this machine has no FUSE (/dev/fuse)");
        var disk = Raw();
        await using var serving = await NbdServing.StartAsync(disk, "-k", Socket, "-f", "raw");
        var mounted = Directory.CreateDirectory(_folder.File("mounted")).FullName;
        using var fuse = Process.Start("nbdfuse", [mounted, serving.Uri]);
        var file = Path.Combine(mounted, "nbd");
        var watch = Stopwatch.StartNew();
        while (!File.Exists(file) && !fuse.HasExited && watch.Elapsed < TimeSpan.FromSeconds(20))
        {
            await Task.Delay(TimeSpan.FromMilliseconds(20), Cancellation);
        }

        Assert.SkipWhen(fuse.HasExited, "nbdfuse cannot mount on this machine");
        try
        {
            Assert.Equal(File.ReadAllBytes(disk), File.ReadAllBytes(file));
            using (var handle = File.OpenHandle(file, FileMode.Open, FileAccess.ReadWrite))
            {
                RandomAccess.Write(handle, new byte[] { 9, 9 }, 100);
            }

            Assert.Equal([9, 9], File.ReadAllBytes(file).AsSpan(100, 2).ToArray());
        }
        finally
        {
            await Tool.RunAsync("umount", [mounted]);
            await fuse.WaitForExitAsync(Cancellation);
        }
    }

    private static Task<NbdClient> ConnectAsync(NbdServing serving)
    {
        var uri = NbdUri.Parse(serving.Uri);
        return NbdClient.ConnectAsync(
            uri.EndPoint, new NbdClientOptions { ExportName = uri.ExportName }, Cancellation);
    }

    private static async Task<(int Code, string Error)> RunAsync(params string[] arguments)
    {
        using var console = new TestConsole();
        var code = await console.RunAsync(["nbd", "serve", .. arguments]);
        Assert.NotEqual(ExitCode.Success, code);
        return (code, console.Error);
    }
}
