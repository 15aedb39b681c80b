using System.Net.Sockets;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>How a server begins to listen, and when it stops by itself.</summary>
public sealed class ServerStartStopTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(10);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_server_for_one_client_stops_after_the_last_that_had_entered()
    {
        await using var fixture = await NbdFixture.StartAsync(new NbdServerOptions { StopAfterLastClient = true });
        fixture.Export("vda", new MemoryNode("disk", new byte[4096]));

        // Looking is not entering.
        await NbdClient.ListExportsAsync(fixture.EndPoint, cancellationToken: Cancellation);
        var first = await fixture.ConnectAsync("vda");
        var second = await fixture.ConnectAsync("vda");
        await first.DisposeAsync();
        await second.ReadAsync(0, new byte[512], Cancellation);
        Assert.False(fixture.Server.Stopped.IsCompleted);
        await second.DisposeAsync();
        await fixture.Server.Stopped.WaitAsync(s_limit, Cancellation);
        Assert.False(File.Exists(fixture.SocketPath));
    }

    [Fact]
    public async Task A_server_for_many_stays()
    {
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", new MemoryNode("disk", new byte[4096]));
        await (await fixture.ConnectAsync("vda")).DisposeAsync();
        await (await fixture.ConnectAsync("vda")).DisposeAsync();
        Assert.False(fixture.Server.Stopped.IsCompleted);
        await fixture.Server.StopAsync();
        Assert.True(fixture.Server.Stopped.IsCompleted);
    }

    [Theory]
    [InlineData(null, null, 0)]
    [InlineData("77", null, 0)]
    [InlineData(null, "1", 0)]
    [InlineData("78", "1", 0)]
    [InlineData("x", "1", 0)]
    [InlineData("77", "1", 1)]
    [InlineData("77", "64", 64)]
    public void The_environment_says_how_many_sockets_were_handed_over(string? pid, string? count, int expected) =>
        Assert.Equal(expected, SocketActivation.CountOf(pid, count, 77));

    [Theory]
    [InlineData("0")]
    [InlineData("-1")]
    [InlineData("65")]
    [InlineData("many")]
    public void An_environment_without_sense_is_refused(string count) =>
        Assert.Throws<NbdException>(() => SocketActivation.CountOf("77", count, 77));

    [Fact]
    public async Task A_descriptor_that_listens_is_served_and_its_file_is_left_alone()
    {
        using var directory = new TemporaryDirectory();
        var path = directory.File("given.sock");
        using var given = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        given.Bind(new UnixDomainSocketEndPoint(path));
        given.Listen(5);

        // A duplicate plays the descriptor that the starter passes on; the listener owns it.
        var copy = Duplicate((int)given.Handle);
        using (var listener = NbdListener.ForDescriptor(copy))
        {
            Assert.Equal(path, listener.EndPoint.SocketPath);
            using var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            var connecting = client.ConnectAsync(new UnixDomainSocketEndPoint(path), Cancellation);
            using var accepted = await listener.AcceptAsync(Cancellation);
            await connecting;
        }

        Assert.True(File.Exists(path));
        await Task.CompletedTask;
    }

    [Fact]
    public void A_descriptor_that_does_not_listen_is_refused()
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        var error = Assert.Throws<NbdException>(() => NbdListener.ForDescriptor(Duplicate((int)socket.Handle)));
        Assert.Equal(BlockErrorKind.Invalid, error.Kind);
        using var file = File.OpenHandle(Environment.ProcessPath!);
        Assert.Throws<NbdException>(() => NbdListener.ForDescriptor(Duplicate((int)file.DangerousGetHandle())));
    }

    private static int Duplicate(int descriptor)
    {
        [System.Runtime.InteropServices.DllImport("libc", EntryPoint = "dup")]
        static extern int Dup(int descriptor);
        return Dup(descriptor);
    }
}
