using System.Buffers.Binary;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>Each command and its misuse, byte by byte (doc/proto.md, "Request types", "Error values").</summary>
public sealed class ServerTransmissionTests
{
    private const uint Size = 1 << 20;

    private static async Task<(NbdFixture Fixture, RawPeer Peer)> StartAsync(
        bool structured = true, bool writable = true, params string[] contexts)
    {
        var fixture = await NbdFixture.StartAsync();
        var content = new byte[Size];
        new Random(4).NextBytes(content.AsSpan(0, 512 << 10));
        var bitmap = new DirtyBitmap("b0", Size) { IsRecording = false };
        bitmap.Set(65536, 65536);
        fixture.Export(
            "vda", new MemoryNode("disk", content), new NbdExportOptions { Writable = writable, Bitmaps = [bitmap] });
        var (ours, theirs) = SocketTransport.CreatePair();
        fixture.Server.Serve(theirs);
        return (fixture, new RawPeer(ours).Enter("vda", structured, contexts));
    }

    public static TheoryData<string, ushort, ushort, ulong, uint, int> Misuses => new()
    {
        { "unknown command", 99, 0, 0, 512, (int)NbdError.EINVAL },
        { "RESIZE", 8, 0, 0, 512, (int)NbdError.EINVAL },
        { "unknown flag", 0, 1 << 15, 0, 512, (int)NbdError.EINVAL },
        { "read with NO_HOLE", 0, 2, 0, 512, (int)NbdError.EINVAL },
        { "read past the end", 0, 0, Size - 256, 512, (int)NbdError.EINVAL },
        { "read at 2^64", 0, 0, ulong.MaxValue, 512, (int)NbdError.EINVAL },
        { "read wraps", 0, 0, ulong.MaxValue - 255, 256, (int)NbdError.EINVAL },
        { "read of 4 GiB", 0, 0, 0, uint.MaxValue, (int)NbdError.EINVAL },
        { "zeroes past the end", 6, 0, Size, 1, (int)NbdError.ENOSPC },
        { "zeroes with DF", 6, 4, 0, 512, (int)NbdError.EINVAL },
        { "trim past the end", 4, 0, Size, 1, (int)NbdError.EINVAL },
        { "flush with length", 3, 0, 0, 512, (int)NbdError.EINVAL },
        { "flush with offset", 3, 0, 512, 0, (int)NbdError.EINVAL },
        { "status without contexts", 7, 0, 0, 512, (int)NbdError.EINVAL },
        { "cache past the end", 5, 0, Size, 1, (int)NbdError.EINVAL },
        { "cache with flags", 5, 8, 0, 512, (int)NbdError.EINVAL },
    };

    [Theory]
    [MemberData(nameof(Misuses))]
    public async Task A_misuse_is_answered_and_the_connection_lives_on(
        string what, ushort command, ushort flags, ulong offset, uint length, int error)
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            peer.Send(RawPeer.Request((NbdCommand)command, offset, length, cookie: 42, (CommandFlags)flags));
            Assert.True((int)peer.ErrorChunk() == error, what);
            peer.Send(RawPeer.Request(NbdCommand.Flush, 0, 0, cookie: 43));
            Assert.Equal((NbdError.None, 43UL), peer.SimpleReply());
        }
    }

    [Theory]
    [InlineData(true, 1u)]
    [InlineData(true, 4096u)]
    [InlineData(true, 1u << 20)]
    [InlineData(false, 4096u)]
    [InlineData(false, 1u << 20)]
    public async Task A_refused_write_is_read_to_its_end(bool writable, uint length)
    {
        var (fixture, peer) = await StartAsync(writable: writable);
        await using var _ = fixture;
        using (peer)
        {
            peer.Send(RawPeer.Request(NbdCommand.Write, 0, length, 5, CommandFlags.DontFragment), new byte[length]);
            Assert.Equal(NbdError.EINVAL, peer.ErrorChunk());
            peer.Send(RawPeer.Request(NbdCommand.Write, Size, length, 6), new byte[length]);
            Assert.Equal(writable ? NbdError.ENOSPC : NbdError.EPERM, peer.ErrorChunk());
            peer.Send(RawPeer.Request(NbdCommand.Flush, 0, 0, cookie: 43));
            Assert.Equal((NbdError.None, 43UL), peer.SimpleReply());
        }
    }

    [Fact]
    public async Task A_write_of_a_monstrous_length_ends_the_connection()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            peer.Send(RawPeer.Request(NbdCommand.Write, 0, uint.MaxValue));
            Assert.True(peer.IsClosed);
        }
    }

    [Fact]
    public async Task A_wrong_magic_number_ends_the_connection()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            peer.Send(new byte[28]);
            Assert.True(peer.IsClosed);
        }
    }

    [Fact]
    public async Task Zero_bytes_come_as_a_hole_unless_fragments_are_unwanted()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            peer.Send(RawPeer.Request(NbdCommand.Read, 512 << 10, 65536));
            var (hole, payload) = peer.Chunk();
            Assert.Equal((ReplyType.OffsetHole, true), (hole.Type, hole.IsDone));
            Assert.Equal(RawPeer.Bytes((ulong)(512 << 10), 65536u), payload);
            peer.Send(RawPeer.Request(NbdCommand.Read, 512 << 10, 65536, flags: CommandFlags.DontFragment));
            var (data, bytes) = peer.Chunk();
            Assert.Equal((ReplyType.OffsetData, true), (data.Type, data.IsDone));
            Assert.Equal(RawPeer.Bytes((ulong)(512 << 10), new byte[65536]), bytes);
            peer.Send(RawPeer.Request(NbdCommand.Read, 0, 0));
            Assert.Equal((ReplyType.None, true), (peer.Chunk().Header.Type, true));
        }
    }

    [Fact]
    public async Task Without_structured_replies_everything_is_simple()
    {
        var (fixture, peer) = await StartAsync(structured: false);
        await using var _ = fixture;
        using (peer)
        {
            peer.Send(RawPeer.Request(NbdCommand.Read, 0, 512, 9));
            Assert.Equal((NbdError.None, 9UL), peer.SimpleReply());
            peer.Receive(512);
            peer.Send(RawPeer.Request(NbdCommand.Read, Size, 512, 10));
            Assert.Equal((NbdError.EINVAL, 10UL), peer.SimpleReply());
            peer.Send(RawPeer.Request(NbdCommand.Read, 0, 512, 11, CommandFlags.DontFragment));
            Assert.Equal((NbdError.EINVAL, 11UL), peer.SimpleReply());
            peer.Send(RawPeer.Request(NbdCommand.BlockStatus, 0, 512, 12));
            Assert.Equal((NbdError.EINVAL, 12UL), peer.SimpleReply());
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Block_status_has_one_chunk_for_each_context(bool one)
    {
        var (fixture, peer) = await StartAsync(contexts: ["base:allocation", "qemu:dirty-bitmap:b0"]);
        await using var _ = fixture;
        using (peer)
        {
            peer.Send(RawPeer.Request(
                NbdCommand.BlockStatus, 512, 262144, flags: one ? CommandFlags.RequestOne : CommandFlags.None));
            var (first, allocation) = peer.Chunk();
            Assert.Equal((ReplyType.BlockStatus, false), (first.Type, first.IsDone));
            Assert.Equal(RawPeer.Bytes(1u, 262144u, 0u), allocation);
            var (second, dirty) = peer.Chunk();
            Assert.Equal((ReplyType.BlockStatus, true), (second.Type, second.IsDone));
            Assert.Equal(
                one ? RawPeer.Bytes(2u, 65024u, 0u) : RawPeer.Bytes(2u, 65024u, 0u, 65536u, 1u, 131584u, 0u), dirty);
        }
    }

    [Fact]
    public async Task A_bitmap_of_alternating_granules_is_described_in_limited_replies()
    {
        await using var fixture = await NbdFixture.StartAsync();
        const long length = 256 << 20;
        var bitmap = new DirtyBitmap("b0", length, 512) { IsRecording = false };
        for (long offset = 0; offset < length; offset += 1024)
        {
            bitmap.Set(offset, 512);
        }

        fixture.Export("vda", new FaultNode("disk", length), new NbdExportOptions { Bitmaps = [bitmap] });
        var (ours, theirs) = SocketTransport.CreatePair();
        fixture.Server.Serve(theirs);
        using (var peer = new RawPeer(ours).Enter("vda", true, "qemu:dirty-bitmap:b0"))
        {
            peer.Send(RawPeer.Request(NbdCommand.BlockStatus, 0, (uint)length));
            var (header, payload) = peer.Chunk();
            Assert.True(header.IsDone);
            Assert.Equal(4 + (8 * NbdLimits.MaximumExtentsSent), payload.Length);
            Assert.Equal(512u, BinaryPrimitives.ReadUInt32BigEndian(payload.AsSpan(4)));
        }

        var client = await fixture.ConnectAsync("vda", "qemu:dirty-bitmap:b0");
        Blocks.Extents.ExtentList extents = new();
        await client.GetExtentsAsync("qemu:dirty-bitmap:b0", 0, length, extents, TestContext.Current.CancellationToken);
        Assert.Equal(length / 512, extents.Count);
    }

    [Fact]
    public async Task Many_requests_at_once_are_all_answered_before_a_disconnect()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            var requests = Enumerable.Range(1, 200)
                .SelectMany(cookie => RawPeer.Request(NbdCommand.Read, (ulong)cookie * 512, 512, (ulong)cookie))
                .Concat(RawPeer.Request(NbdCommand.Disconnect, 0, 0))
                .ToArray();
            peer.Send(requests);
            var cookies = Enumerable.Range(1, 200).Select(_ => peer.Chunk().Header.Cookie).Order();
            Assert.Equal(Enumerable.Range(1, 200).Select(cookie => (ulong)cookie), cookies);
            Assert.True(peer.IsClosed);
        }
    }
}
