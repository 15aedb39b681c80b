using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>Long writes that a server gives its node piece by piece, as they come.</summary>
public sealed class WritePiecesTests
{
    private const int Size = 4 << 20;
    private static readonly NbdServerOptions s_options = new() { WritesInPieces = true };
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public Task Every_byte_arrives_at_its_place(bool inPieces) => TestSeed.RunAsync(async random =>
    {
        await using var fixture = await NbdFixture.StartAsync(new NbdServerOptions { WritesInPieces = inPieces });
        var disk = new PieceNode();
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
        Assert.Equal(inPieces, disk.LongestWithoutFlag <= WritePieces.Length);
        Assert.Equal(0, fixture.Server.Budget.Taken);
    });

    [Fact]
    public async Task A_piece_that_fails_fails_its_request_and_nothing_after_it()
    {
        await using var fixture = await NbdFixture.StartAsync(s_options);
        var disk = new PieceNode { BadPlace = 700_000 };
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true });
        var client = await fixture.ConnectAsync("vda");
        var data = new byte[1 << 20];
        data.AsSpan().Fill(3);
        var failure = await Assert.ThrowsAsync<NbdException>(
            () => client.WriteAsync(1000, data, cancellationToken: Cancellation).AsTask());
        Assert.Equal(NbdError.ENOSPC, failure.Error);
        Assert.Equal(0, disk.Content[^1]);
        Assert.Equal(-1, disk.Content.AsSpan(700_000, Size - 700_000).IndexOfAnyExcept((byte)0));

        // The connection is where it should be: behind the payload.
        await client.WriteAsync(2 << 20, data, cancellationToken: Cancellation);
        Assert.Equal(-1, disk.Content.AsSpan(2 << 20, 1 << 20).IndexOfAnyExcept((byte)3));
    }

    [Fact]
    public async Task A_node_whose_units_are_longer_gets_whole_requests()
    {
        await using var fixture = await NbdFixture.StartAsync(s_options);
        var disk = new PieceNode { Demands = new BlockLimits { PreferredSize = 1 << 20 } };
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true });
        var client = await fixture.ConnectAsync("vda");
        await client.WriteAsync(1 << 20, new byte[1 << 20], cancellationToken: Cancellation);
        Assert.Equal(1 << 20, disk.LongestWithoutFlag);
    }

    [Fact]
    public async Task A_node_that_takes_its_time_holds_up_no_other_request()
    {
        await using var fixture = await NbdFixture.StartAsync(s_options);
        var hold = new TaskCompletionSource();
        var disk = new PieceNode { Hold = hold.Task };
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
    public async Task A_client_that_leaves_in_the_middle_is_gone_only_when_its_piece_is_done(int sent)
    {
        await using var fixture = await NbdFixture.StartAsync(s_options);
        var hold = new TaskCompletionSource();
        var disk = new PieceNode { Hold = hold.Task };
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true });
        var (ours, theirs) = SocketTransport.CreatePair();
        var connection = fixture.Server.Serve(theirs);
        using (var peer = new RawPeer(ours).Enter("vda", NbdOption.StructuredReply))
        {
            peer.Send(RawPeer.Request(NbdCommand.Write, 65536, 1 << 20), new byte[Math.Min(sent, 65536)]);
            if (sent >= 65536)
            {
                await disk.Held.WaitAsync(s_limit, Cancellation);
                peer.Send(new byte[sent - 65536]);
                ours.EndSending();
                Assert.False(connection.Completed.IsCompleted);
                hold.SetResult();
            }
            else
            {
                ours.EndSending();
            }

            await connection.Completed.WaitAsync(s_limit, Cancellation);
            Assert.Equal(sent >= 65536 ? 1 : 0, disk.Writes);
        }

        Assert.Equal(0, fixture.Server.Buffers.Taken);
        Assert.Equal(0, fixture.Server.Budget.Taken);
    }

    /// <summary>A disk in memory that looks at the writes it gets.</summary>
    private sealed class PieceNode() : BlockNode("disk")
    {
        private readonly TaskCompletionSource _held = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private int _longest;
        private int _writes;

        internal byte[] Content { get; } = new byte[Size];

        /// <summary>The longest write that need not be durable.</summary>
        internal int LongestWithoutFlag => Volatile.Read(ref _longest);

        internal int Writes => Volatile.Read(ref _writes);

        internal Task Held => _held.Task;

        internal Task? Hold { get; init; }

        internal int BadPlace { get; init; } = -1;

        internal BlockLimits Demands { get; init; } = BlockLimits.Default;

        public override BlockLimits Limits => Demands;

        public override string Driver => "pieces";

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
            if ((flags & WriteFlags.ForceUnitAccess) == 0)
            {
                _longest = Math.Max(_longest, source.Length);
            }

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
