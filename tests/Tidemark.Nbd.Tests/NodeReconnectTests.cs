using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>Lost connections: what goes on, and that no write of a lost one lands later.</summary>
public sealed class NodeReconnectTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(20);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static NbdNodeOptions Options(TimeSpan? requestTimeout = null, TimeSpan? closeTimeout = null) => new()
    {
        Reconnect = new NbdReconnectPolicy { FirstPause = TimeSpan.FromMilliseconds(5), Limit = s_limit },
        Client = new NbdClientOptions
        {
            RequestTimeout = requestTimeout ?? Timeout.InfiniteTimeSpan,
            CloseTimeout = closeTimeout ?? s_limit,
        },
    };

    [Fact]
    public async Task Reads_and_writes_go_on_over_a_server_that_comes_back()
    {
        await using var first = await NbdFixture.StartAsync();
        var content = new byte[1 << 20];
        Random.Shared.NextBytes(content);
        first.Export("vda", new MemoryNode("disk", content), new NbdExportOptions { Writable = true });
        await using var node = await NbdNode.ConnectAsync(
            "remote", first.EndPoint, Options() with { ExportName = "vda", Connections = 2 }, Cancellation);
        await node.FlushAsync(Cancellation);
        await first.Server.StopAsync();
        var target = new byte[4096];
        var reading = node.ReadAsync(512, target, Cancellation).AsTask();
        await using var second = new NbdServer();
        var graph = new Blocks.Graph.BlockGraph();
        var disk = new MemoryNode("disk", content);
        graph.Add(disk);
        second.AddExport(new NbdExport(
            "vda", graph.CreateBackend(disk, "export"), new NbdExportOptions { Writable = true }));
        await second.ListenAsync(first.EndPoint, Cancellation);
        await reading.WaitAsync(s_limit, Cancellation);
        Assert.True(content.AsSpan(512, 4096).SequenceEqual(target));
        await node.WriteAsync(0, new byte[512], cancellationToken: Cancellation);
        await node.FlushAsync(Cancellation);
    }

    [Fact]
    public async Task Another_export_under_the_same_name_is_not_taken_for_the_old_one()
    {
        await using var first = await NbdFixture.StartAsync();
        first.Export("vda", new MemoryNode("disk", new byte[8192]));
        await using var node = await NbdNode.ConnectAsync(
            "remote", first.EndPoint, Options() with { ExportName = "vda" }, Cancellation);
        await first.Server.RemoveExportAsync("vda", NbdExportRemoval.Hard, Cancellation);
        first.Export("vda", new MemoryNode("other", new byte[4096]));
        var error = await Assert.ThrowsAsync<NbdException>(
            async () => await node.ReadAsync(0, new byte[512], Cancellation));
        Assert.Contains("another export", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_shows_the_end_of_a_connection_only_after_its_last_write()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new FaultNode("disk", 1 << 20);
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true });
        var (ours, theirs) = SocketTransport.CreatePair();
        fixture.Server.Serve(theirs);
        using var peer = new RawPeer(ours).Enter("vda");
        var hold = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        disk.Hold = hold.Task;
        peer.Send(RawPeer.Request(NbdCommand.Write, 0, 512), new byte[512]);
        await disk.Held;
        var removing = fixture.Server.RemoveExportAsync("vda", NbdExportRemoval.Hard, Cancellation);
        var finishedAtEnd = Task.Run(
            () =>
            {
                while (!peer.IsClosed)
                {
                }

                return disk.FinishedWrites;
            },
            Cancellation);
        await Task.Delay(50, Cancellation);
        Assert.False(finishedAtEnd.IsCompleted);
        hold.SetResult();
        Assert.Equal(1, await finishedAtEnd.WaitAsync(s_limit, Cancellation));
        await removing.WaitAsync(s_limit, Cancellation);
    }

    [Fact]
    public async Task A_write_that_is_given_up_is_reported_and_sent_again_only_when_the_old_one_has_ended()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new FaultNode("disk", 1 << 20);
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true });
        await using var node = await NbdNode.ConnectAsync(
            "remote",
            fixture.EndPoint,
            Options(requestTimeout: TimeSpan.FromMilliseconds(40)) with { ExportName = "vda" },
            Cancellation);
        var lost = node.Clients[0];
        var hold = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        disk.Hold = hold.Task;
        var writing = node.WriteAsync(0, new byte[512], cancellationToken: Cancellation).AsTask();
        await disk.Held;
        while (lost.Failure is null)
        {
            await Task.Delay(5, Cancellation);
        }

        // The deadline has passed, but the server is still at it: nothing is reported, and nothing sent again.
        await Task.Delay(50, Cancellation);
        Assert.False(writing.IsCompleted);
        Assert.Equal(0, disk.FinishedWrites);
        disk.Hold = null;
        hold.SetResult();
        await writing.WaitAsync(s_limit, Cancellation);
        Assert.InRange(disk.FinishedWrites, 1, 2);

        // The reply may have come before the server's end.
        await lost.Ended.WaitAsync(s_limit, Cancellation);
        Assert.True(lost.IsSettled);
        var finished = disk.FinishedWrites;
        await node.ReadAsync(0, new byte[512], Cancellation);
        Assert.Equal(finished, disk.FinishedWrites);
    }

    [Fact]
    public async Task After_a_write_of_unknown_fate_the_node_takes_no_more_writes_but_reads()
    {
        using var directory = new TemporaryDirectory();
        var path = directory.File("s");
        await using var server = new NbdServer();
        var disk = new FaultNode("disk", 1 << 20);
        var graph = new Blocks.Graph.BlockGraph();
        graph.Add(disk);
        server.AddExport(new NbdExport(
            "", graph.CreateBackend(disk, "export"), new NbdExportOptions { Writable = true }));
        await server.ListenAsync(NbdEndPoint.ForUnix(path), Cancellation);
        await using var node = await NbdNode.ConnectAsync(
            "remote",
            NbdEndPoint.ForUnix(path),
            Options(TimeSpan.FromMilliseconds(40), closeTimeout: TimeSpan.FromMilliseconds(100)),
            Cancellation);
        var hold = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        disk.Hold = hold.Task;

        // The server holds the write beyond every limit: it may land at any time.
        var error = await Assert.ThrowsAsync<NbdException>(
            () => node.WriteAsync(0, new byte[512], cancellationToken: Cancellation).AsTask()
                .WaitAsync(s_limit, Cancellation));
        Assert.Contains("fate", error.Message, StringComparison.Ordinal);
        Assert.Equal(0, disk.FinishedWrites);
        disk.Hold = null;
        hold.SetResult();
        await Assert.ThrowsAsync<NbdException>(
            async () => await node.WriteAsync(4096, new byte[512], cancellationToken: Cancellation));
        await node.ReadAsync(0, new byte[512], Cancellation);
    }

    [Fact]
    public async Task A_flush_does_not_answer_for_a_server_that_is_gone()
    {
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", new MemoryNode("disk", new byte[1 << 20]), new NbdExportOptions { Writable = true });
        await using var node = await NbdNode.ConnectAsync(
            "remote", fixture.EndPoint, Options() with { ExportName = "vda" }, Cancellation);
        await node.WriteAsync(0, new byte[512], cancellationToken: Cancellation);
        await fixture.Server.RemoveExportAsync("vda", NbdExportRemoval.Hard, Cancellation);
        fixture.Export("vda", new MemoryNode("disk2", new byte[1 << 20]), new NbdExportOptions { Writable = true });
        var error = await Assert.ThrowsAsync<NbdException>(async () => await node.FlushAsync(Cancellation));
        Assert.Contains("durable", error.Message, StringComparison.Ordinal);
        await node.WriteAsync(0, new byte[512], cancellationToken: Cancellation);
        await node.FlushAsync(Cancellation);
    }

    [Fact]
    public async Task Without_a_policy_a_loss_is_reported()
    {
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", new MemoryNode("disk", new byte[8192]), new NbdExportOptions { Writable = true });
        var node = await fixture.ConnectNodeAsync("vda");
        await fixture.Server.StopAsync();
        await Assert.ThrowsAsync<NbdException>(async () => await node.ReadAsync(0, new byte[512], Cancellation));
        await Assert.ThrowsAsync<NbdException>(
            async () => await node.WriteAsync(0, new byte[512], cancellationToken: Cancellation));
    }

    [Theory]
    [InlineData(1, 4096)]
    [InlineData(7, 1000)]
    [InlineData(3, 20 << 20)]
    public async Task Pieces_are_written_one_behind_the_other(int count, int length)
    {
        await using var fixture = await NbdFixture.StartAsync();
        var content = new byte[64 << 20];
        fixture.Export("vda", new MemoryNode("disk", content), new NbdExportOptions { Writable = true });
        var client = await fixture.ConnectAsync("vda");
        var pieces = Enumerable.Range(1, count)
            .Select(index => (ReadOnlyMemory<byte>)Enumerable.Repeat((byte)index, length).ToArray())
            .Append(default).ToList();
        await client.WriteAsync(512, pieces, cancellationToken: Cancellation);
        for (var index = 0; index < count; index++)
        {
            Assert.Equal(-1, content.AsSpan(512 + (index * length), length).IndexOfAnyExcept((byte)(index + 1)));
        }

        Assert.Equal(0, content[511]);
        Assert.Equal(0, content[512 + (count * length)]);
    }

    [Fact]
    public async Task An_export_grows_and_the_client_sees_it()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = Blocks.Files.RawFileNode.Create("disk", fixture.Directory.File("d"), 8192);
        fixture.Export("vda", disk, new NbdExportOptions
        {
            Writable = true,
            Grow = async (length, token) =>
            {
                using var drained = await fixture.Graph.DrainAsync(token);
                await disk.ResizeAsync(length, token);
            },
        });
        var client = await fixture.ConnectAsync("vda");
        await client.ResizeAsync(16384, Cancellation);
        Assert.Equal(16384, client.Length);
        await client.WriteAsync(12288, new byte[4096], cancellationToken: Cancellation);
        var error = await Assert.ThrowsAsync<NbdException>(async () => await client.ResizeAsync(512, Cancellation));
        Assert.Equal(NbdError.EPERM, error.Error);
        error = await Assert.ThrowsAsync<NbdException>(
            async () => await client.ResizeAsync(long.MaxValue - 511, Cancellation));
        Assert.NotEqual(NbdError.None, error.Error);
        Assert.Equal(16384, client.Length);
        fixture.Export("fixed", new MemoryNode("m", new byte[512]), new NbdExportOptions { Writable = true });
        var other = await fixture.ConnectAsync("fixed");
        await Assert.ThrowsAsync<NbdException>(async () => await other.ResizeAsync(1024, Cancellation));
    }
}
