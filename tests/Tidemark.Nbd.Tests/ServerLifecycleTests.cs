using System.Net.Sockets;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>Exports and servers that come and go while clients are there.</summary>
public sealed class ServerLifecycleTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static NbdExportOptions Writable => new() { Writable = true };

    [Fact]
    public async Task Stopping_answers_what_is_under_way_and_removes_the_socket()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new FaultNode("disk", 1 << 20);
        fixture.Export("vda", disk, Writable);
        var client = await fixture.ConnectAsync("vda");
        var hold = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        disk.Hold = hold.Task;
        var writes = Enumerable.Range(0, 5)
            .Select(_ => client.WriteAsync(0, new byte[512], cancellationToken: Cancellation).AsTask()).ToArray();
        await disk.Held;
        var last = await fixture.ConnectAsync("vda");
        var stopping = fixture.Server.StopAsync();
        await Task.Delay(TimeSpan.FromMilliseconds(50), Cancellation);
        Assert.False(stopping.IsCompleted);
        await Assert.ThrowsAsync<NbdException>(() => fixture.ConnectAsync("vda"));
        hold.SetResult();
        await stopping;
        var finished = await Task.WhenAll(writes.Select(async write =>
        {
            await Task.WhenAny(write);
            return write.IsCompletedSuccessfully;
        }));
        Assert.Equal(disk.FinishedWrites, finished.Count(done => done));
        Assert.True(finished[0]);
        Assert.False(File.Exists(fixture.SocketPath));
        await Assert.ThrowsAsync<NbdException>(async () => await last.ReadAsync(0, new byte[512], Cancellation));
        Assert.Empty(disk.Parents);
    }

    [Fact]
    public async Task Removing_safely_is_refused_while_a_client_is_there()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new FaultNode("disk", 1 << 20);
        var export = fixture.Export("vda", disk, Writable);
        List<string> removed = [];
        fixture.Server.ExportRemoved += gone => removed.Add(gone.Name);
        var client = await fixture.ConnectAsync("vda");
        Assert.Equal(1, export.ConnectionCount);
        var error = await Assert.ThrowsAsync<NbdException>(
            () => fixture.Server.RemoveExportAsync("vda", cancellationToken: Cancellation));
        Assert.Equal(BlockErrorKind.Busy, error.Kind);
        await client.ReadAsync(0, new byte[512], Cancellation);

        await client.DisposeAsync();
        while (export.ConnectionCount > 0)
        {
            await Task.Yield();
        }

        await fixture.Server.RemoveExportAsync("vda", cancellationToken: Cancellation);
        Assert.Equal(["vda"], removed);
        Assert.Empty(disk.Parents);
        error = await Assert.ThrowsAsync<NbdException>(
            () => fixture.Server.RemoveExportAsync("vda", cancellationToken: Cancellation));
        Assert.Equal(BlockErrorKind.NotFound, error.Kind);
    }

    [Fact]
    public async Task Removing_hard_cuts_clients_and_waits_for_their_writes()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new FaultNode("disk", 1 << 20);
        fixture.Export("vda", disk, Writable);
        fixture.Export("vdb", new MemoryNode("other", new byte[4096]));
        var other = await fixture.ConnectAsync("vdb");
        var client = await fixture.ConnectAsync("vda");
        var hold = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        disk.Hold = hold.Task;
        var write = client.WriteAsync(0, new byte[512], cancellationToken: Cancellation).AsTask();
        await disk.Held;

        var removing = fixture.Server.RemoveExportAsync("vda", NbdExportRemoval.Hard, Cancellation);
        await Assert.ThrowsAsync<NbdException>(() => fixture.ConnectAsync("vda"));

        // The client learns of its loss only when the write has finished: it can never land later.
        Assert.False(removing.IsCompleted);
        Assert.False(write.IsCompleted);
        Assert.Equal(0, disk.FinishedWrites);
        hold.SetResult();
        await removing;
        await Assert.ThrowsAsync<NbdException>(() => write);
        Assert.Equal(1, disk.FinishedWrites);
        Assert.Empty(disk.Parents);
        await other.ReadAsync(0, new byte[512], Cancellation);
    }

    [Fact]
    public async Task A_stale_socket_is_replaced_and_a_live_one_is_not()
    {
        await using var fixture = await NbdFixture.StartAsync();
        await using var second = new NbdServer();
        var error = await Assert.ThrowsAsync<NbdException>(
            async () => await second.ListenAsync(fixture.EndPoint, Cancellation));
        Assert.Equal(BlockErrorKind.Busy, error.Kind);
        Assert.True(File.Exists(fixture.SocketPath));

        var stale = fixture.Directory.File("stale");
        using (var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            // Moved away, so that the runtime does not delete it: what a killed server leaves.
            socket.Bind(new UnixDomainSocketEndPoint(fixture.Directory.File("bound")));
            File.Move(fixture.Directory.File("bound"), stale);
        }

        Assert.True(File.Exists(stale));
        await second.ListenAsync(NbdEndPoint.ForUnix(stale), Cancellation);
        var file = fixture.Directory.File("file");
        await File.WriteAllTextAsync(file, "precious", Cancellation);
        await Assert.ThrowsAsync<NbdException>(
            async () => await second.ListenAsync(NbdEndPoint.ForUnix(file), Cancellation));
        Assert.Equal("precious", await File.ReadAllTextAsync(file, Cancellation));
    }

    [Fact]
    public async Task Tcp_works_and_the_chosen_port_is_told()
    {
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", new MemoryNode("disk", new byte[1 << 20]), Writable);
        var endPoint = await fixture.Server.ListenAsync(NbdEndPoint.ForTcp("127.0.0.1", 0), Cancellation);
        Assert.NotEqual(0, endPoint.Port);
        await using var client =
            await NbdClient.ConnectAsync(endPoint, new NbdClientOptions { ExportName = "vda" }, Cancellation);
        var bytes = new byte[300_000];
        new Random(1).NextBytes(bytes);
        await client.WriteAsync(77, bytes, cancellationToken: Cancellation);
        var read = new byte[bytes.Length];
        await client.ReadAsync(77, read, Cancellation);
        Assert.Equal(bytes, read);
    }

    [Fact]
    public async Task Connections_over_the_limit_wait_for_a_place()
    {
        await using var fixture = await NbdFixture.StartAsync(new NbdServerOptions { MaximumConnections = 2 });
        fixture.Export("vda", new MemoryNode("disk", new byte[4096]));
        var first = await fixture.ConnectAsync("vda");
        await fixture.ConnectAsync("vda");
        var third = fixture.ConnectAsync("vda");
        await Task.Delay(TimeSpan.FromMilliseconds(100), Cancellation);
        Assert.False(third.IsCompleted);
        await first.DisposeAsync();
        await (await third).ReadAsync(0, new byte[512], Cancellation);
    }

    [Fact]
    public async Task Five_hundred_idle_clients_do_not_hold_up_the_next()
    {
        await using var fixture =
            await NbdFixture.StartAsync(new NbdServerOptions { HandshakeTimeout = TimeSpan.FromSeconds(60) });
        fixture.Export("vda", new MemoryNode("disk", new byte[1 << 20]));
        List<Socket> idle = [];
        try
        {
            for (var count = 0; count < 500; count++)
            {
                var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(fixture.SocketPath), Cancellation);
                idle.Add(socket);
            }

            var client = await fixture.ConnectAsync("vda");
            await client.ReadAsync(0, new byte[65536], Cancellation);
            Assert.InRange(fixture.Server.ConnectionCount, 400, 501);
        }
        finally
        {
            idle.ForEach(socket => socket.Dispose());
        }

        while (fixture.Server.ConnectionCount > 1)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(5), Cancellation);
        }
    }

    [Fact]
    public async Task Names_bitmaps_and_permissions_are_checked_when_an_export_is_made()
    {
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", new MemoryNode("a", new byte[4096]));
        Assert.Equal(BlockErrorKind.BadName, Refuse("vda", new()).Kind);
        Assert.Equal(BlockErrorKind.BadName, Refuse(new string('x', 4097), new()).Kind);
        Assert.Equal(BlockErrorKind.BadName, Refuse("v\0", new()).Kind);
        Blocks.Bitmaps.DirtyBitmap Bitmap(bool inconsistent = false, long length = 4096) =>
            new("b", length) { IsInconsistent = inconsistent, IsRecording = false };
        Assert.Equal(BlockErrorKind.Invalid, Refuse("x", new() { Bitmaps = [Bitmap(inconsistent: true)] }).Kind);
        Assert.Equal(BlockErrorKind.Invalid, Refuse("x", new() { Bitmaps = [Bitmap(length: 512)] }).Kind);
        var recording = Bitmap();
        recording.IsRecording = true;
        Assert.Equal(BlockErrorKind.Invalid, Refuse("x", new() { Bitmaps = [recording] }).Kind);
        var busy = Bitmap();
        busy.IsBusy = true;
        var free = Bitmap();
        Assert.Equal(BlockErrorKind.Busy, Refuse("x", new() { Bitmaps = [free, busy] }).Kind);
        Assert.False(free.IsBusy);
        Assert.Single(fixture.Server.Exports);

        NbdException Refuse(string name, NbdExportOptions options) =>
            Assert.Throws<NbdException>(() => fixture.Export(name, fixture.Graph.Get("a"), options));
    }
}
