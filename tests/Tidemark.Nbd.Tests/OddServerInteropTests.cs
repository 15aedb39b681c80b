using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>nbdkit's filters and scripts as servers that are slow, choosy, broken or odd.</summary>
[Trait("Category", "Interop")]
public sealed class OddServerInteropTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static async Task<(TemporaryDirectory Directory, PeerServer Peer)> StartAsync(params string[] arguments)
    {
        Assert.SkipWhen(Tool.Missing("nbdkit") is not null, Tool.Missing("nbdkit") ?? "");
        var directory = new TemporaryDirectory();
        var socket = directory.File("s");
        try
        {
            return (directory, await PeerServer.StartAsync(socket, "nbdkit", ["-f", "-U", socket, .. arguments]));
        }
        catch
        {
            directory.Dispose();
            throw;
        }
    }

    private static Task<NbdClient> ConnectAsync(PeerServer peer, params string[] contexts) => NbdClient.ConnectAsync(
        peer.EndPoint, new NbdClientOptions { MetaContexts = contexts }, Cancellation);

    [Fact]
    public async Task Blocksize_policy_is_kept_to()
    {
        var (directory, peer) = await StartAsync(
            "--filter=blocksize-policy", "memory", "1M",
            "blocksize-minimum=4096", "blocksize-preferred=65536", "blocksize-maximum=131072",
            "blocksize-error-policy=error");
        using var _ = directory;
        using var __ = peer;
        await using var client = await ConnectAsync(peer);
        Assert.Equal((4096, 65536, 131072), (
            client.MinimumBlockSize, client.PreferredBlockSize, client.MaximumPayload));
        var bytes = new byte[1 << 20];
        Random.Shared.NextBytes(bytes);
        await client.WriteAsync(0, bytes, cancellationToken: Cancellation);
        var back = new byte[bytes.Length];
        await client.ReadAsync(0, back, Cancellation);
        Assert.Equal(bytes, back);
        await client.WriteZeroesAsync(4096, 1 << 19, cancellationToken: Cancellation);
        await Assert.ThrowsAsync<NbdException>(async () => await client.ReadAsync(512, new byte[512], Cancellation));
    }

    [Fact]
    public async Task Delays_do_not_put_replies_in_the_wrong_hands()
    {
        var (directory, peer) = await StartAsync(
            "--filter=delay", "memory", "1M", "rdelay=20ms", "wdelay=5ms");
        using var _ = directory;
        using var __ = peer;
        await using var client = await ConnectAsync(peer);
        await Task.WhenAll(Enumerable.Range(0, 40).Select(async index =>
        {
            var bytes = Enumerable.Repeat((byte)(index + 1), 4096).ToArray();
            await client.WriteAsync(index * 4096, bytes, cancellationToken: Cancellation);
            var back = new byte[4096];
            await client.ReadAsync(index * 4096, back, Cancellation);
            Assert.Equal(bytes, back);
        }));
    }

    [Fact]
    public async Task Protected_ranges_fail_their_writes_alone()
    {
        var (directory, peer) = await StartAsync("--filter=protect", "memory", "1M", "protect=4096-8191");
        using var _ = directory;
        using var __ = peer;
        await using var client = await ConnectAsync(peer);
        var error = await Assert.ThrowsAsync<NbdException>(
            async () => await client.WriteAsync(4096, new byte[] { 1 }, cancellationToken: Cancellation));
        Assert.Equal(NbdError.EPERM, error.Error);
        Assert.Equal(BlockErrorKind.ReadOnly, error.Kind);
        await client.WriteAsync(8192, new byte[] { 1 }, cancellationToken: Cancellation);
        Assert.Null(client.Failure);
    }

    [Fact]
    public async Task Exitlast_ends_after_the_farewell()
    {
        var (directory, peer) = await StartAsync("--filter=exitlast", "memory", "1M");
        using var _ = directory;
        using var __ = peer;
        await using (var client = await ConnectAsync(peer))
        {
            await client.ReadAsync(0, new byte[512], Cancellation);
        }

        await peer.Exited.WaitAsync(TimeSpan.FromSeconds(20), Cancellation);
    }

    [Theory]
    [InlineData("multi-conn-mode=disable", 1)]
    [InlineData("multi-conn-mode=emulate", 4)]
    public async Task Connections_are_as_many_as_the_server_allows(string mode, int expected)
    {
        var (directory, peer) = await StartAsync("--filter=multi-conn", "memory", "1M", mode);
        using var _ = directory;
        using var __ = peer;
        await using var node = await NbdNode.ConnectAsync(
            "n", peer.EndPoint, new NbdNodeOptions { Connections = 4 }, Cancellation);
        Assert.Equal(expected, node.Clients.Count);
        await node.WriteAsync(0, new byte[] { 9 }, cancellationToken: Cancellation);
        await node.FlushAsync(Cancellation);
        var target = new byte[1];
        for (var round = 0; round < 8; round++)
        {
            await node.ReadAsync(0, target, Cancellation);
            Assert.Equal(9, target[0]);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public async Task A_server_that_takes_fewer_connections_than_asked_for_is_used_with_those(int limit)
    {
        var (directory, peer) = await StartAsync("--filter=limit", "memory", "1M", $"limit={limit}");
        using var _ = directory;
        using var __ = peer;
        await using var node = await NbdNode.ConnectAsync(
            "n", peer.EndPoint, new NbdNodeOptions { Connections = 4 }, Cancellation);
        Assert.Equal(limit, node.Clients.Count);
        await node.WriteAsync(0, new byte[] { 9 }, cancellationToken: Cancellation);
        await node.FlushAsync(Cancellation);
    }

    [Theory]
    [InlineData("error=ENOSPC", NbdError.ENOSPC)]
    [InlineData("error=EPERM", NbdError.EPERM)]
    [InlineData("error=ENOMEM", NbdError.ENOMEM)]
    [InlineData("error=EINVAL", NbdError.EINVAL)]
    public async Task An_injected_error_fails_each_command_alone(string error, NbdError expected)
    {
        var (directory, peer) = await StartAsync("--filter=error", "memory", "1M", error, "error-rate=100%");
        using var _ = directory;
        using var __ = peer;
        await using var client = await ConnectAsync(peer, MetaContextNames.BaseAllocation);
        Task[] tasks =
        [
            client.ReadAsync(0, new byte[512], Cancellation).AsTask(),
            client.WriteAsync(0, new byte[512], cancellationToken: Cancellation).AsTask(),
            client.TrimAsync(0, 512, Cancellation).AsTask(),
            client.WriteZeroesAsync(0, 512, cancellationToken: Cancellation).AsTask(),
            client.CacheAsync(0, 512, Cancellation).AsTask(),
            client.GetExtentsAsync(MetaContextNames.BaseAllocation, 0, 512, new ExtentList(), Cancellation).AsTask(),
        ];
        foreach (var task in tasks)
        {
            Assert.Equal(expected, (await Assert.ThrowsAsync<NbdException>(() => task)).Error);
        }

        Assert.Null(client.Failure);
        await client.FlushAsync(Cancellation);
    }

    [Theory]
    [InlineData("fuamode=emulate")]
    [InlineData("fuamode=native")]
    [InlineData("fuamode=force")]
    public async Task Force_unit_access_works_with_every_mode(string mode)
    {
        var (directory, peer) = await StartAsync("--filter=fua", "memory", "1M", mode);
        using var _ = directory;
        using var __ = peer;
        await using var client = await ConnectAsync(peer);
        await client.WriteAsync(0, new byte[] { 7 }, forceUnitAccess: true, Cancellation);
        await client.WriteZeroesAsync(512, 512, WriteFlags.ForceUnitAccess, Cancellation);
        await client.FlushAsync(Cancellation);
    }

    [Fact]
    public async Task Nocache_nozero_and_noextents_are_done_without()
    {
        var (directory, peer) = await StartAsync(
            "--filter=nozero", "--filter=noextents", "--filter=nocache", "memory", "1M");
        using var _ = directory;
        using var __ = peer;
        await using var client = await ConnectAsync(peer, MetaContextNames.BaseAllocation);
        await client.WriteAsync(0, Enumerable.Repeat((byte)1, 8192).ToArray(), cancellationToken: Cancellation);
        await client.WriteZeroesAsync(4096, 4096, cancellationToken: Cancellation);
        await client.CacheAsync(0, 4096, Cancellation);
        var target = new byte[8192];
        await client.ReadAsync(0, target, Cancellation);
        Assert.Equal(4096, target.AsSpan().IndexOf((byte)0));
        var extents = new ExtentList();
        await client.GetExtentsAsync(MetaContextNames.BaseAllocation, 0, 1 << 20, extents, Cancellation);
        Assert.Equal(1 << 20, extents.Length);
        Assert.DoesNotContain(extents, extent => extent.IsZero);
    }

    [Theory]
    [InlineData("echo 'ENOSPC full' >&2; exit 1", NbdError.ENOSPC)]
    [InlineData("echo 'EPERM no' >&2; exit 1", NbdError.EPERM)]
    [InlineData("echo 'ESHUTDOWN' >&2; exit 1", NbdError.ESHUTDOWN)]
    [InlineData("echo 'EBADF odd' >&2; exit 1", NbdError.EIO)]
    [InlineData("exit 1", NbdError.EIO)]
    [InlineData("head -c 100 /dev/zero", NbdError.EIO)]
    public async Task A_script_that_fails_fails_the_read(string script, NbdError expected)
    {
        var (directory, peer) = await StartAsync("eval", "get_size=echo 1M", $"pread={script}");
        using var _ = directory;
        using var __ = peer;
        await using var client = await ConnectAsync(peer);
        var error = await Assert.ThrowsAsync<NbdException>(
            async () => await client.ReadAsync(0, new byte[512], Cancellation));
        Assert.Equal(expected, error.Error);
    }

    [Fact]
    public async Task Odd_extents_are_read_as_far_as_they_go()
    {
        // Extents that end short, reach past the request, and repeat themselves.
        var (directory, peer) = await StartAsync(
            "eval", "get_size=echo 1M", "pread=head -c $3 /dev/zero", "can_extents=exit 0",
            "extents=echo $4 512 hole,zero; echo $(($4+512)) 512 hole,zero; echo $(($4+1024)) 512 0; "
                + "echo $(($4+1536)) 100000 zero");
        using var _ = directory;
        using var __ = peer;
        await using var client = await ConnectAsync(peer, MetaContextNames.BaseAllocation);
        var extents = new ExtentList();
        await client.GetExtentsAsync(MetaContextNames.BaseAllocation, 4096, 300_000 / 512 * 512, extents, Cancellation);
        Assert.Equal(4096, extents[0].Offset);
        Assert.Equal(300_000 / 512 * 512, extents.Length);
        Assert.Equal(ExtentFlags.Hole | ExtentFlags.Zero, extents[0].Flags);
    }

    [Theory]
    [InlineData("echo 0", 0)]
    [InlineData("echo 1", 1)]
    [InlineData("echo 513", 513)]
    [InlineData("echo 9223372036854775807", long.MaxValue)]
    public async Task Sizes_of_every_kind_are_entered(string script, long expected)
    {
        var (directory, peer) = await StartAsync(
            "eval", $"get_size={script}", "pread=head -c $3 /dev/zero");
        using var _ = directory;
        using var __ = peer;
        await using var client = await ConnectAsync(peer);
        Assert.Equal(expected, client.Length);
        if (expected > 0)
        {
            await client.ReadAsync(expected - 1, new byte[1], Cancellation);
        }

        await Assert.ThrowsAsync<NbdException>(async () => await client.ReadAsync(expected, new byte[1], Cancellation));
    }

    [Fact]
    public async Task A_server_that_cannot_open_its_disk_refuses_with_words()
    {
        var (directory, peer) = await StartAsync(
            "eval", "open=echo 'EACCES go away' >&2; exit 1", "get_size=echo 1M", "pread=exit 1");
        using var _ = directory;
        using var __ = peer;
        await Assert.ThrowsAsync<NbdException>(() => ConnectAsync(peer));
    }
}
