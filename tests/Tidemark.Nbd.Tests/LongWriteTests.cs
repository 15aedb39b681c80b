using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>Long writes to a server: whole at their place, or not done at all.</summary>
public sealed class LongWriteTests
{
    private const int Size = 4 << 20;
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public Task Every_byte_arrives_at_its_place() => TestSeed.RunAsync(async random =>
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new WatchedNode();
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true });
        var client = await fixture.ConnectAsync("vda");
        var expected = new byte[Size];
        for (var round = 0; round < 40; round++)
        {
            // Several under way, next to each other, so that headers come together with the bytes before them.
            var writes = new List<Task>();
            var offset = random.Next(Size / 4);
            for (var count = random.Next(1, 5); count > 0; count--)
            {
                var data = new byte[random.Next(1, 600_000)];
                random.NextBytes(data);
                data.CopyTo(expected, offset);
                writes.Add(client.WriteAsync(
                    offset, data, forceUnitAccess: random.Next(8) == 0, cancellationToken: Cancellation).AsTask());
                offset += data.Length;
            }

            await Task.WhenAll(writes).WaitAsync(s_limit, Cancellation);
        }

        Assert.Equal(expected, disk.Content);
        Assert.Equal(0, fixture.Server.Budget.Taken);
    });

    [Fact]
    public async Task A_write_that_fails_leaves_the_connection_where_it_should_be()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new WatchedNode { BadPlace = 700_000 };
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true });
        var client = await fixture.ConnectAsync("vda");
        var data = new byte[1 << 20];
        data.AsSpan().Fill(3);
        var failure = await Assert.ThrowsAsync<NbdException>(
            () => client.WriteAsync(1000, data, cancellationToken: Cancellation).AsTask());
        Assert.Equal(NbdError.ENOSPC, failure.Error);

        // Behind the payload.
        await client.WriteAsync(2 << 20, data, cancellationToken: Cancellation);
        Assert.Equal(-1, disk.Content.AsSpan(2 << 20, 1 << 20).IndexOfAnyExcept((byte)3));
        Assert.Equal(-1, disk.Content.AsSpan(0, 2 << 20).IndexOfAnyExcept((byte)0));
    }

    [Fact]
    public async Task A_node_that_takes_its_time_holds_up_no_other_request()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var hold = new TaskCompletionSource();
        var disk = new WatchedNode { Hold = hold.Task };
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true });
        var client = await fixture.ConnectAsync("vda");
        var data = new byte[1 << 20];
        data.AsSpan().Fill(5);
        var writing = client.WriteAsync(4096, data, cancellationToken: Cancellation).AsTask();
        await client.ReadAsync(0, new byte[512], Cancellation).AsTask().WaitAsync(s_limit, Cancellation);
        Assert.False(writing.IsCompleted);
        hold.SetResult();
        await writing.WaitAsync(s_limit, Cancellation);
        Assert.Equal(-1, disk.Content.AsSpan(4096, 1 << 20).IndexOfAnyExcept((byte)5));
        await client.WriteAsync(0, data, cancellationToken: Cancellation);
        Assert.Equal(-1, disk.Content.AsSpan(0, 1 << 20).IndexOfAnyExcept((byte)5));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(100_000)]
    [InlineData((1 << 20) - 1)]
    public async Task Of_a_write_that_comes_in_part_nothing_is_written(int sent)
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new WatchedNode();
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true });
        var (ours, theirs) = SocketTransport.CreatePair();
        var connection = fixture.Server.Serve(theirs);
        using (var peer = new RawPeer(ours).Enter("vda", NbdOption.StructuredReply))
        {
            peer.Send(RawPeer.Request(NbdCommand.Write, 65536, 1 << 20), new byte[sent]);
            ours.EndSending();
            await connection.Completed.WaitAsync(s_limit, Cancellation);
        }

        Assert.Equal(0, disk.Writes);
        Assert.Equal(0, fixture.Server.Buffers.Taken);
        Assert.Equal(0, fixture.Server.Budget.Taken);
    }

    [Fact]
    public async Task A_client_that_leaves_is_gone_only_when_its_write_is_done()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var hold = new TaskCompletionSource();
        var disk = new WatchedNode { Hold = hold.Task };
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true });
        var (ours, theirs) = SocketTransport.CreatePair();
        var connection = fixture.Server.Serve(theirs);
        using (var peer = new RawPeer(ours).Enter("vda", NbdOption.StructuredReply))
        {
            peer.Send(RawPeer.Request(NbdCommand.Write, 65536, 1 << 20), new byte[1 << 20]);
            await disk.Held.WaitAsync(s_limit, Cancellation);
            ours.EndSending();
            Assert.False(connection.Completed.IsCompleted);
            hold.SetResult();
            await connection.Completed.WaitAsync(s_limit, Cancellation);
            Assert.Equal(1, disk.Writes);
        }

        Assert.Equal(0, fixture.Server.Buffers.Taken);
        Assert.Equal(0, fixture.Server.Budget.Taken);
    }

    /// <summary>A disk in memory that looks at the writes it gets.</summary>
    private sealed class WatchedNode() : BlockNode("disk")
    {
        private readonly TaskCompletionSource _held = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _writes;

        internal byte[] Content { get; } = new byte[Size];

        internal int Writes => Volatile.Read(ref _writes);

        internal Task Held => _held.Task;

        internal Task? Hold { get; init; }

        internal int BadPlace { get; init; } = -1;

        public override string Driver => "watched";

        public override long Length => Size;

        public override ValueTask DisposeAsync() => default;

        protected override ValueTask ReadCoreAsync(
            long offset, Memory<byte> target, CancellationToken cancellationToken)
        {
            Content.AsMemory((int)offset, target.Length).CopyTo(target);
            return default;
        }

        protected override ValueTask WriteCoreAsync(
            long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
        {
            Interlocked.Increment(ref _writes);
            if (BadPlace >= offset && BadPlace < offset + source.Length)
            {
                throw new BlockException(BlockErrorKind.NoSpace, "no room here");
            }

            return Hold is { IsCompleted: false } hold ? WaitAsync(hold, offset, source) : Copy(offset, source);
        }

        protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) => default;

        private async ValueTask WaitAsync(Task hold, long offset, ReadOnlyMemory<byte> source)
        {
            _held.TrySetResult();
            await hold;
            source.CopyTo(Content.AsMemory((int)offset));
        }

        private ValueTask Copy(long offset, ReadOnlyMemory<byte> source)
        {
            source.CopyTo(Content.AsMemory((int)offset));
            return default;
        }
    }
}
