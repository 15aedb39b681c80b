using System.Buffers.Binary;
using System.Net.Sockets;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>Rules of the document for the transmission phase that no other test holds.</summary>
public sealed class ServerConformanceTests
{
    private const int Size = 1 << 20;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static RawPeer Raw(NbdFixture fixture, bool structured = true, params string[] contexts)
    {
        var (ours, theirs) = SocketTransport.CreatePair();
        fixture.Server.Serve(theirs);
        return new RawPeer(ours).Enter("vda", structured, contexts);
    }

    [Fact]
    public async Task Force_unit_access_is_accepted_on_every_command()
    {
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", new MemoryNode("disk", new byte[Size]), new NbdExportOptions { Writable = true });
        using var peer = Raw(fixture, structured: false);
        foreach (var command in new[]
        {
            NbdCommand.Read, NbdCommand.Write, NbdCommand.Flush, NbdCommand.Trim, NbdCommand.Cache,
            NbdCommand.WriteZeroes,
        })
        {
            var length = command == NbdCommand.Flush ? 0u : 512u;
            peer.Send(
                RawPeer.Request(command, 0, length, 1, CommandFlags.ForceUnitAccess),
                new byte[command == NbdCommand.Write ? 512 : 0]);
            Assert.Equal(NbdError.None, peer.SimpleReply().Error);
            peer.Receive(command == NbdCommand.Read ? 512 : 0);
        }
    }

    [Fact]
    public async Task One_extent_is_one_extent_and_not_longer_than_asked()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var bitmap = new DirtyBitmap("b0", Size) { IsRecording = false };
        bitmap.Set(0, 1);
        bitmap.Set(3 * 65536, 1);
        fixture.Export(
            "vda", new MemoryNode("disk", new byte[Size]),
            new NbdExportOptions { Bitmaps = [bitmap], AllocationDepth = true });
        using var peer = Raw(fixture, true, "base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:b0");
        foreach (var (offset, length) in new[] { (0UL, 512u), (65536UL, 1u << 19), (3UL * 65536 - 512, 1024u) })
        {
            peer.Send(RawPeer.Request(NbdCommand.BlockStatus, offset, length, 1, CommandFlags.RequestOne));
            for (var index = 0; index < 3; index++)
            {
                var (header, payload) = peer.Chunk();
                Assert.Equal(index == 2, header.IsDone);
                Assert.Equal(12, payload.Length);
                Assert.InRange(BinaryPrimitives.ReadUInt32BigEndian(payload.AsSpan(4)), 1u, length);
            }
        }
    }

    [Fact]
    public async Task An_unfragmented_read_of_64_KiB_works_and_one_over_the_maximum_is_refused_whole()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var content = new byte[40 << 20];
        content.AsSpan(100).Fill(3);
        fixture.Export("vda", new MemoryNode("disk", content));
        using var peer = Raw(fixture);
        peer.Send(RawPeer.Request(NbdCommand.Read, 0, 65536, 1, CommandFlags.DontFragment));
        var (header, payload) = peer.Chunk();
        Assert.Equal((ReplyType.OffsetData, true, 65536 + 8), (header.Type, header.IsDone, payload.Length));
        peer.Send(RawPeer.Request(NbdCommand.Read, 0, 33 << 20, 1, CommandFlags.DontFragment));
        Assert.Equal(NbdError.EOVERFLOW, peer.ErrorChunk());
    }

    [Fact]
    public async Task Requests_of_no_bytes_do_not_end_the_connection()
    {
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", new MemoryNode("disk", new byte[Size]), new NbdExportOptions { Writable = true });
        using var peer = Raw(fixture, true, "base:allocation");
        foreach (var command in new[] { NbdCommand.Write, NbdCommand.Trim, NbdCommand.Cache, NbdCommand.WriteZeroes })
        {
            peer.Send(RawPeer.Request(command, 512, 0, 1));
            Assert.Equal(NbdError.None, peer.SimpleReply().Error);
        }

        peer.Send(RawPeer.Request(NbdCommand.BlockStatus, 0, 0));
        Assert.Equal(NbdError.EINVAL, peer.ErrorChunk());
        peer.Send(RawPeer.Request(NbdCommand.Flush, 0, 0));
        Assert.Equal(NbdError.None, peer.SimpleReply().Error);
    }

    [Fact]
    public async Task Sockets_over_TCP_do_not_wait_for_more()
    {
        using var listener = new TcpListener(System.Net.IPAddress.Loopback, 0);
        listener.Start();
        using var client = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await client.ConnectAsync(listener.LocalEndpoint, Cancellation);
        using var transport = new SocketTransport(await listener.AcceptSocketAsync(Cancellation), "test");
        using var ours = new SocketTransport(client, "test");
        Assert.True(client.NoDelay);
        Assert.False(ours.IsLocal);
    }

    [Fact]
    public async Task What_was_answered_is_durable_after_a_flush_and_with_force_unit_access()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new CacheNode("disk");
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true });
        var one = await fixture.ConnectAsync("vda");
        var other = await fixture.ConnectAsync("vda");
        Assert.True(one.CanMultiConnection);
        await one.WriteAsync(0, new byte[512], cancellationToken: Cancellation);
        Assert.Equal(1, disk.Volatile);
        await one.WriteAsync(0, new byte[512], forceUnitAccess: true, Cancellation);
        Assert.Equal(1, disk.Volatile);
        await one.WriteZeroesAsync(0, 512, WriteFlags.ForceUnitAccess, Cancellation);
        Assert.Equal(1, disk.Volatile);

        // The other connection's flush covers what was answered on this one.
        await other.FlushAsync(Cancellation);
        Assert.Equal(0, disk.Volatile);
        await one.WriteAsync(0, new byte[512], cancellationToken: Cancellation);
        using var peer = Raw(fixture, structured: false);
        peer.Send(RawPeer.Request(NbdCommand.Trim, 0, 512, 1, CommandFlags.ForceUnitAccess));
        Assert.Equal(NbdError.None, peer.SimpleReply().Error);
        Assert.Equal(0, disk.Volatile);
    }

    [Fact]
    public async Task Fast_zeroes_are_fast_or_refused_and_no_hole_stays_allocated()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new CacheNode("disk");
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true });
        var client = await fixture.ConnectAsync("vda");
        await client.WriteZeroesAsync(0, 512, WriteFlags.MayUnmap, Cancellation);
        Assert.Equal(WriteFlags.MayUnmap, disk.LastFlags);
        await client.WriteZeroesAsync(0, 512, cancellationToken: Cancellation);
        Assert.Equal(WriteFlags.None, disk.LastFlags);
        disk.IsSlow = true;
        await client.WriteZeroesAsync(0, 512, cancellationToken: Cancellation);
        var error = await Assert.ThrowsAsync<NbdException>(
            async () => await client.WriteZeroesAsync(0, 512, WriteFlags.NoFallback, Cancellation));
        Assert.Equal(NbdError.ENOTSUP, error.Error);
    }

    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, 3)]
    public async Task Several_connections_are_made_only_where_the_server_allows_them(bool allowed, int expected)
    {
        await using var fixture = await NbdFixture.StartAsync();
        var export = fixture.Export(
            "vda", new MemoryNode("disk", new byte[Size]),
            new NbdExportOptions { Writable = true, MultipleConnections = allowed });
        var node = await fixture.ConnectNodeAsync("vda", new NbdNodeOptions { Connections = 3 });
        Assert.Equal(expected, node.Clients.Count);
        Assert.Equal(expected, export.ConnectionCount);
    }

    [Fact]
    public async Task Caching_changes_nothing_and_fails_where_the_disk_does()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var content = new byte[Size];
        Random.Shared.NextBytes(content);
        var before = content.ToArray();
        fixture.Export("vda", new MemoryNode("disk", content), new NbdExportOptions { Writable = true });
        var client = await fixture.ConnectAsync("vda");
        await client.CacheAsync(0, Size, Cancellation);
        Assert.Equal(before, content);
        var broken = new FaultNode("broken", Size) { Fault = new BlockException(BlockErrorKind.Io, "broken") };
        fixture.Export("broken", broken);
        var other = await fixture.ConnectAsync("broken");
        var error = await Assert.ThrowsAsync<NbdException>(async () => await other.CacheAsync(0, 512, Cancellation));
        Assert.Equal(NbdError.EIO, error.Error);
    }

    [Fact]
    public async Task A_simple_error_has_no_payload()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new FaultNode("disk", Size) { Fault = new BlockException(BlockErrorKind.Io, "broken") };
        fixture.Export("vda", disk);
        using var peer = Raw(fixture, structured: false);
        peer.Send(RawPeer.Request(NbdCommand.Read, 0, 4096, 7), RawPeer.Request(NbdCommand.Flush, 0, 0, 8));
        Assert.Equal((NbdError.EIO, 7UL), peer.SimpleReply());
        Assert.Equal((NbdError.None, 8UL), peer.SimpleReply());
    }

    /// <summary>Counts writes that are only in memory, and says what it was asked.</summary>
    private sealed class CacheNode(string name) : BlockNode(name)
    {
        private int _volatile;

        internal int Volatile => _volatile;

        internal bool IsSlow { get; set; }

        internal WriteFlags LastFlags { get; private set; }

        public override string Driver => "cache";

        public override long Length => Size;

        public override ValueTask DisposeAsync() => default;

        protected override ValueTask ReadCoreAsync(
            long offset, Memory<byte> target, CancellationToken cancellationToken) => default;

        protected override ValueTask WriteCoreAsync(
            long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
        {
            Note(flags);
            return default;
        }

        protected override ValueTask WriteZeroesCoreAsync(
            long offset, long length, WriteFlags flags, CancellationToken cancellationToken)
        {
            if (IsSlow && (flags & WriteFlags.NoFallback) != 0)
            {
                throw new BlockException(BlockErrorKind.NotSupported, "no fast way");
            }

            LastFlags = flags;
            Note(flags);
            return default;
        }

        protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken)
        {
            _volatile = 0;
            return default;
        }

        private void Note(WriteFlags flags) =>
            _volatile += (flags & WriteFlags.ForceUnitAccess) != 0 ? 0 : 1;
    }
}
