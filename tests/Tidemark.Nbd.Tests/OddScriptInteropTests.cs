using Tidemark.Blocks.Extents;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>A server whose disk is a script of nbdkit's <c>sh</c> plug-in that answers oddly: one program for all
/// calls, which sees the handle of its client and may die.</summary>
[Trait("Category", "Interop")]
public sealed class OddScriptInteropTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    // What the script says unless the test's cases, which come first, say something else.
    private const string Ordinary = """
        get_size) echo 1M ;;
        pread) head -c $3 /dev/zero ;;
        can_write|can_flush|can_trim|can_zero|can_extents) exit 0 ;;
        can_fua) echo native ;;
        pwrite) cat > /dev/null ;;
        flush|trim|zero) ;;
        extents) echo "$3" "$4" >> /dev/null; echo $4 $3 ;;
        *) exit 2 ;;
        """;

    private static async Task<(TemporaryDirectory Directory, PeerServer Peer)> StartAsync(string cases)
    {
        Assert.SkipWhen(Tool.Missing("nbdkit") is not null, Tool.Missing("nbdkit") ?? "");
        Assert.SkipUnless(
            (await Tool.RunAsync("nbdkit", ["sh", "--dump-plugin"])).ExitCode == 0, "nbdkit has no sh plug-in");
        var directory = new TemporaryDirectory();
        var script = directory.File("plugin.sh");
        await File.WriteAllTextAsync(
            script, $"#!/bin/sh\ncase \"$1\" in\n{cases}\n{Ordinary}\nesac\n", Cancellation);
        File.SetUnixFileMode(
            script, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        var socket = directory.File("s");
        try
        {
            return (directory, await PeerServer.StartAsync(socket, "nbdkit", "-f", "-U", socket, "sh", script));
        }
        catch
        {
            directory.Dispose();
            throw;
        }
    }

    private static Task<NbdClient> ConnectAsync(PeerServer peer) => NbdClient.ConnectAsync(
        peer.EndPoint, new NbdClientOptions { MetaContexts = [MetaContextNames.BaseAllocation] }, Cancellation);

    [Fact]
    public async Task An_ordinary_script_is_an_ordinary_disk()
    {
        var (directory, peer) = await StartAsync("");
        using var _ = directory;
        using var __ = peer;
        await using var client = await ConnectAsync(peer);
        await client.ReadAsync(512, new byte[512], Cancellation);
        await client.WriteAsync(0, new byte[4096], forceUnitAccess: true, Cancellation);
        await client.WriteZeroesAsync(0, 4096, cancellationToken: Cancellation);
        await client.TrimAsync(0, 4096, Cancellation);
        await client.FlushAsync(Cancellation);
        var extents = new ExtentList();
        await client.GetExtentsAsync(MetaContextNames.BaseAllocation, 0, 1 << 20, extents, Cancellation);
        Assert.Equal(1 << 20, extents.Length);
    }

    // A process that dies, is silent, says too little or too much, or an error that is none.
    [Theory]
    [InlineData("pread) kill -9 $$ ;;")]
    [InlineData("pread) ;;")]
    [InlineData("pread) head -c 511 /dev/zero ;;")]
    [InlineData("pread) head -c 100000 /dev/zero; echo EIO >&2; exit 1 ;;")]
    [InlineData("pread) echo 'E\u00fcber' >&2; exit 1 ;;")]
    [InlineData("pread) head -c 70000 /dev/zero | tr '\\0' x >&2; exit 1 ;;")]
    [InlineData("pread) exit 77 ;;")]
    public async Task A_read_that_goes_wrong_fails_alone(string cases)
    {
        var (directory, peer) = await StartAsync(cases);
        using var _ = directory;
        using var __ = peer;
        await using var client = await ConnectAsync(peer);
        for (var round = 0; round < 2; round++)
        {
            var error = await Assert.ThrowsAsync<NbdException>(
                async () => await client.ReadAsync(0, new byte[512], Cancellation));
            Assert.NotEqual(NbdError.None, error.Error);
        }

        Assert.Null(client.Failure);
        await client.WriteAsync(0, new byte[512], cancellationToken: Cancellation);
    }

    // Sizes, sizes of blocks and permissions that make no sense end the handshake with words, not with a hang.
    [Theory]
    [InlineData("get_size) echo much ;;")]
    [InlineData("get_size) echo -5 ;;")]
    [InlineData("get_size) echo 9223372036854775808 ;;")]
    [InlineData("get_size) kill -9 $$ ;;")]
    [InlineData("open) echo 'EACCES not you' >&2; exit 1 ;;")]
    [InlineData("block_size) echo 3 7 9 ;;")]
    [InlineData("can_write) exit 1 ;;")]
    public async Task A_handshake_that_goes_wrong_is_an_error(string cases)
    {
        var (directory, peer) = await StartAsync(cases);
        using var _ = directory;
        using var __ = peer;
        var error = await Assert.ThrowsAsync<NbdException>(async () => await (await ConnectAsync(peer)).DisposeAsync());
        Assert.StartsWith("cannot ", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("extents) ;;")]
    [InlineData("extents) echo nonsense ;;")]
    [InlineData("extents) echo 1000000 1 ;;")]
    [InlineData("extents) echo EIO >&2; exit 1 ;;")]
    [InlineData("extents) kill -9 $$ ;;")]
    public async Task Status_that_goes_wrong_fails_alone(string cases)
    {
        var (directory, peer) = await StartAsync(cases);
        using var _ = directory;
        using var __ = peer;
        await using var client = await ConnectAsync(peer);
        await Assert.ThrowsAsync<NbdException>(async () => await client.GetExtentsAsync(
            MetaContextNames.BaseAllocation, 0, 4096, new ExtentList(), Cancellation));
        Assert.Null(client.Failure);
        await client.ReadAsync(0, new byte[512], Cancellation);
    }

    [Fact]
    public async Task A_script_that_kills_its_server_is_a_lost_connection()
    {
        var (directory, peer) = await StartAsync("pwrite) kill -9 $PPID ;;");
        using var _ = directory;
        using var __ = peer;
        await using var client = await ConnectAsync(peer);
        var error = await Assert.ThrowsAsync<NbdException>(
            async () => await client.WriteAsync(0, new byte[512], cancellationToken: Cancellation));
        Assert.Equal(NbdError.None, error.Error);
        Assert.NotNull(client.Failure);
        Assert.True(client.IsSettled);
    }

    [Fact]
    public async Task Lists_of_exports_may_be_odd()
    {
        var (directory, peer) = await StartAsync(
            "list_exports) printf 'INTERLEAVED\\na b\\n\u00fc\\n\\nempty name\\n' ;;");
        using var _ = directory;
        using var __ = peer;
        var exports = await NbdClient.ListExportsAsync(peer.EndPoint, cancellationToken: Cancellation);
        Assert.Equal(["a b", ""], exports.Select(export => export.Name));
        Assert.Equal("\u00fc", exports[0].Description);
        Assert.Equal("empty name", exports[1].Description);
    }
}
