using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>Our client against the peers' servers.</summary>
[Trait("Category", "Interop")]
public sealed class ClientInteropTests
{
    private const int Length = 8 << 20;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static void Need(params string[] tools) =>
        Assert.SkipWhen(Tool.Missing(tools) is not null, Tool.Missing(tools) ?? "");

    private static Task<NbdNode> ConnectAsync(PeerServer peer, NbdNodeOptions? options = null) =>
        NbdNode.ConnectAsync("remote", peer.EndPoint, options, Cancellation);

    private static async Task ExerciseAsync(NbdNode node)
    {
        var bytes = new byte[1 << 20];
        new Random(3).NextBytes(bytes);
        await node.WriteAsync(1 << 20, bytes, WriteFlags.ForceUnitAccess, Cancellation);
        await node.WriteZeroesAsync((1 << 20) + 65536, 65536, WriteFlags.MayUnmap, Cancellation);
        await node.WriteZeroesAsync((1 << 20) + (2 * 65536), 65536, WriteFlags.None, Cancellation);
        await node.DiscardAsync(6 << 20, 1 << 20, Cancellation);
        await node.FlushAsync(Cancellation);
        bytes.AsSpan(65536, 2 * 65536).Clear();

        // More reads at once than there may be in flight.
        var pieces = await Task.WhenAll(Enumerable.Range(0, 256).Select(async index =>
        {
            var piece = new byte[4096];
            await node.ReadAsync((1 << 20) + (index * 4096L), piece, Cancellation);
            return piece;
        }));
        Assert.Equal(bytes, pieces.SelectMany(piece => piece).ToArray());
        ExtentList extents = new();
        await node.GetBlockStatusAsync(0, node.Length, extents, Cancellation);
        Assert.Equal(node.Length, extents.Length);
        await Assert.ThrowsAnyAsync<BlockException>(
            async () => await node.ReadAsync(node.Length, new byte[1], Cancellation));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public async Task Qemu_nbd_raw(int connections)
    {
        Need("qemu-nbd");
        using var directory = new TemporaryDirectory();
        await File.WriteAllBytesAsync(directory.File("disk.raw"), new byte[Length], Cancellation);
        using var peer = await PeerServer.StartAsync(
            directory.File("s"), "qemu-nbd", "-t", "-e", "8", "-f", "raw", "-k", directory.File("s"),
            directory.File("disk.raw"));
        await using var node = await ConnectAsync(peer, new NbdNodeOptions { Connections = connections });
        await ExerciseAsync(node);
    }

    [Fact]
    public async Task Qemu_nbd_qcow2_with_a_dirty_bitmap()
    {
        Need("qemu-nbd", "qemu-img", "qemu-io");
        using var directory = new TemporaryDirectory();
        var image = directory.File("disk.qcow2");
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", image, "8M");
        await Tool.RunOkAsync("qemu-img", "bitmap", "--add", image, "b0");
        await Tool.RunOkAsync("qemu-io", "-c", "write 128k 64k", "-c", "write 1M 1", image);
        using var peer = await PeerServer.StartAsync(
            directory.File("s"), "qemu-nbd", "-r", "-t", "-f", "qcow2", "-B", "b0", "-k", directory.File("s"), image);
        await using var node = await ConnectAsync(
            peer, new NbdNodeOptions { MetaContexts = ["qemu:dirty-bitmap:b0", "qemu:dirty-bitmap:absent"] });
        Assert.True(node.IsReadOnly);
        Assert.Equal(["base:allocation", "qemu:dirty-bitmap:b0"], node.MetaContexts.Order(StringComparer.Ordinal));

        ExtentList extents = new();
        await node.GetMetaContextExtentsAsync("qemu:dirty-bitmap:b0", 0, node.Length, extents, Cancellation);
        Assert.Equal(
            [
                new Extent(0, 131072, ExtentFlags.None),
                new Extent(131072, 65536, ExtentFlags.Dirty),
                new Extent(196608, (1 << 20) - 196608, ExtentFlags.None),
                new Extent(1 << 20, 65536, ExtentFlags.Dirty),
                new Extent((1 << 20) + 65536, Length - (1 << 20) - 65536, ExtentFlags.None),
            ],
            extents);
        var error = await Assert.ThrowsAsync<NbdException>(async () =>
            await node.GetMetaContextExtentsAsync("qemu:dirty-bitmap:absent", 0, 65536, extents, Cancellation));
        Assert.Equal(BlockErrorKind.NotFound, error.Kind);
    }

    [Theory]
    [InlineData("memory", 1)]
    [InlineData("memory", 4)]
    [InlineData("memory --no-sr", 1)]
    [InlineData("memory --filter=nozero", 1)]
    [InlineData("memory --filter=fua fuamode=emulate", 1)]
    [InlineData("memory --filter=blocksize-policy blocksize-minimum=4096 blocksize-preferred=65536 "
        + "blocksize-maximum=131072 blocksize-error-policy=error", 1)]
    [InlineData("memory --filter=delay rdelay=1ms", 1)]
    public async Task Nbdkit(string arguments, int connections)
    {
        Need("nbdkit");
        using var directory = new TemporaryDirectory();
        var parts = arguments.Split(' ');
        string[] options = [.. parts.Where(part => part.StartsWith('-'))];
        string[] plugin = [.. parts.Where(part => !part.StartsWith('-'))];
        using var peer = await PeerServer.StartAsync(
            directory.File("s"), "nbdkit",
            [.. options, "-f", "-U", directory.File("s"), plugin[0], $"size={Length}", .. plugin[1..]]);
        await using var node = await ConnectAsync(peer, new NbdNodeOptions { Connections = connections });
        Assert.Equal(connections, node.Clients.Count);
        if (arguments.Contains("minimum=4096", StringComparison.Ordinal))
        {
            Assert.Equal(4096, node.Limits.RequestAlignment);
            Assert.Equal(131072, node.Limits.MaximumTransfer);
            await Assert.ThrowsAsync<BlockException>(
                async () => await node.ReadAsync(512, new byte[512], Cancellation));
        }

        var bytes = new byte[1 << 20];
        new Random(5).NextBytes(bytes);
        await node.WriteAsync(2 << 20, bytes, WriteFlags.ForceUnitAccess, Cancellation);
        await node.WriteZeroesAsync((2 << 20) + 65536, 131072, WriteFlags.None, Cancellation);
        bytes.AsSpan(65536, 131072).Clear();
        var read = new byte[1 << 20];
        await node.ReadAsync(2 << 20, read, Cancellation);
        Assert.Equal(bytes, read);
        ExtentList extents = new();
        await node.GetBlockStatusAsync(0, node.Length, extents, Cancellation);
        Assert.Equal(node.Length, extents.Length);
    }

    [Fact]
    public async Task Nbdkit_errors_fail_one_request_each()
    {
        Need("nbdkit");
        using var directory = new TemporaryDirectory();
        using var peer = await PeerServer.StartAsync(
            directory.File("s"), "nbdkit", "-f", "-U", directory.File("s"), "--filter=error", "memory",
            $"size={Length}",
            "error-pwrite=ENOSPC", "error-pwrite-rate=100%");
        await using var node = await ConnectAsync(peer);
        var error = await Assert.ThrowsAsync<NbdException>(
            async () => await node.WriteAsync(0, new byte[512], WriteFlags.None, Cancellation));
        Assert.Equal(BlockErrorKind.NoSpace, error.Kind);
        await node.ReadAsync(0, new byte[512], Cancellation);
    }

    [Fact]
    public async Task A_server_that_dies_fails_every_request_with_the_reason()
    {
        Need("nbdkit");
        using var directory = new TemporaryDirectory();
        using var peer = await PeerServer.StartAsync(
            directory.File("s"), "nbdkit", "-f", "-U", directory.File("s"), "--filter=delay", "memory",
            $"size={Length}", "rdelay=60");
        await using var node = await ConnectAsync(peer);
        var reads =
            Enumerable.Range(0, 8).Select(_ => node.ReadAsync(0, new byte[512], Cancellation).AsTask()).ToArray();
        peer.Kill();
        foreach (var read in reads)
        {
            var error = await Assert.ThrowsAsync<NbdException>(() => read);
            Assert.Equal(BlockErrorKind.Io, error.Kind);
            Assert.Contains("connection is lost", error.Message, StringComparison.Ordinal);
        }

        await Assert.ThrowsAsync<NbdException>(async () => await node.ReadAsync(0, new byte[512], Cancellation));
    }

    [Fact]
    public async Task The_storage_daemon_exports_a_node_with_a_bitmap()
    {
        Need("qemu-storage-daemon", "qemu-img", "qemu-io");
        using var directory = new TemporaryDirectory();
        var image = directory.File("disk.qcow2");
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", image, "8M");
        await Tool.RunOkAsync("qemu-img", "bitmap", "--add", image, "b0");
        await Tool.RunOkAsync("qemu-io", "-c", "write 0 64k", image);
        using var peer = await PeerServer.StartAsync(
            directory.File("s"),
            "qemu-storage-daemon",
            "--blockdev", $"driver=file,node-name=file,filename={image}",
            "--blockdev", "driver=qcow2,node-name=disk,file=file",
            "--nbd-server", $"addr.type=unix,addr.path={directory.File("s")}",
            "--export", "type=nbd,id=e,node-name=disk,name=vda,writable=on,bitmaps.0=b0");
        var list = await NbdClient.ListExportsAsync(peer.EndPoint, cancellationToken: Cancellation);
        Assert.Equal("vda", Assert.Single(list).Name);
        await using var node = await ConnectAsync(
            peer, new NbdNodeOptions { ExportName = "vda", MetaContexts = ["qemu:dirty-bitmap:b0"], Connections = 2 });
        await ExerciseAsync(node);
        ExtentList extents = new();
        await node.GetMetaContextExtentsAsync("qemu:dirty-bitmap:b0", 0, 65536, extents, Cancellation);
        Assert.Equal([new Extent(0, 65536, ExtentFlags.Dirty)], extents);
    }
}
