using System.Buffers.Binary;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Extents;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>The EXTENDED_HEADERS extension, both roles.</summary>
public sealed class ExtendedHeadersTests
{
    private const int Size = 1 << 20;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static async Task<(NbdFixture Fixture, RawPeer Peer)> StartAsync(params string[] contexts)
    {
        var fixture = await NbdFixture.StartAsync();
        var bitmap = new DirtyBitmap("b0", Size) { IsRecording = false };
        bitmap.Set(65536, 1);
        fixture.Export(
            "vda",
            new MemoryNode("disk", new byte[Size]),
            new NbdExportOptions { Writable = true, Bitmaps = [bitmap], AllocationDepth = true });
        var (ours, theirs) = SocketTransport.CreatePair();
        fixture.Server.Serve(theirs);
        var peer = new RawPeer(ours).Greet();
        Assert.Equal(OptionReplyType.Ack, peer.Ask(NbdOption.ExtendedHeaders));
        if (contexts.Length > 0)
        {
            peer.Ask(
                NbdOption.SetMetaContext, RawPeer.Named("vda"), (uint)contexts.Length,
                RawPeer.Bytes([.. contexts.Select(RawPeer.Named)]));
        }

        Assert.Equal(OptionReplyType.Ack, peer.Ask(NbdOption.Go, RawPeer.Named("vda"), (ushort)0));
        return (fixture, peer);
    }

    private static byte[] Request(
        NbdCommand command, ulong offset, ulong length, CommandFlags flags = CommandFlags.None, ulong cookie = 9)
    {
        var header = new byte[RequestHeader.ExtendedSize];
        new RequestHeader(flags, command, cookie, offset, length).Write(header, extended: true);
        return header;
    }

    private static (ChunkHeader Header, byte[] Payload) Chunk(RawPeer peer)
    {
        var bytes = peer.Receive(ChunkHeader.ExtendedSize);
        Assert.Equal(NbdMagic.ExtendedReply, BinaryPrimitives.ReadUInt32BigEndian(bytes));
        var chunk = ChunkHeader.Read(bytes, extended: true);
        return (chunk, peer.Receive((int)chunk.Length));
    }

    private static NbdError Error(RawPeer peer)
    {
        var (header, payload) = Chunk(peer);
        Assert.True(header is { Type: ReplyType.Error, IsDone: true });
        return (NbdError)BinaryPrimitives.ReadUInt32BigEndian(payload);
    }

    [Fact]
    public async Task Every_reply_is_extended_and_repeats_cookie_and_offset()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        foreach (var (offset, type, request) in new[]
        {
            (4096UL, ReplyType.None, Request(NbdCommand.Write, 4096, 512, CommandFlags.PayloadLength)),
            (8192UL, ReplyType.OffsetData, Request(NbdCommand.Read, 8192, 512)),
            (0UL, ReplyType.None, Request(NbdCommand.Flush, 0, 0)),
            (512UL, ReplyType.None, Request(NbdCommand.WriteZeroes, 512, Size - 512)),
        })
        {
            // One at a time: a server may answer in any order.
            peer.Send(request, new byte[offset == 4096 ? 512 : 0]);
            var (header, _) = Chunk(peer);
            Assert.Equal((9UL, offset, type, true), (header.Cookie, header.Offset, header.Type, header.IsDone));
        }
    }

    [Fact]
    public async Task A_payload_where_none_belongs_is_consumed_and_refused()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        peer.Send(Request(NbdCommand.Read, 0, 512, CommandFlags.PayloadLength), new byte[512]);
        Assert.Equal(NbdError.EINVAL, Error(peer));
        peer.Send(Request(NbdCommand.BlockStatus, 0, 12, CommandFlags.PayloadLength), new byte[12]);
        Assert.Equal(NbdError.EINVAL, Error(peer));
        peer.Send(Request(NbdCommand.Read, 0, 1UL << 40));
        Assert.Equal(NbdError.EINVAL, Error(peer));
        peer.Send(Request(NbdCommand.Trim, ulong.MaxValue, ulong.MaxValue));
        Assert.Equal(NbdError.EINVAL, Error(peer));
        peer.Send(Request(NbdCommand.Read, 0, 512));
        Assert.Equal(512 + 8, Chunk(peer).Payload.Length);
    }

    [Fact]
    public async Task A_write_without_the_flag_has_its_payload_all_the_same_as_QEMU_sends_it()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        peer.Send(Request(NbdCommand.Write, 0, 512), Enumerable.Repeat((byte)5, 512).ToArray());
        Assert.Equal(ReplyType.None, Chunk(peer).Header.Type);
        peer.Send(Request(NbdCommand.Read, 0, 512));
        Assert.Equal(-1, Chunk(peer).Payload.AsSpan(8).IndexOfAnyExcept((byte)5));
    }

    [Fact]
    public async Task A_payload_over_the_limit_ends_the_connection()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        peer.Send(Request(NbdCommand.Write, 0, (32 << 20) + 1, CommandFlags.PayloadLength));
        Assert.True(peer.IsClosed);
    }

    [Fact]
    public async Task Block_status_has_64_bit_descriptors_and_a_payload_names_the_contexts()
    {
        var (fixture, peer) = await StartAsync("base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:b0");
        await using var _ = fixture;
        peer.Send(Request(NbdCommand.BlockStatus, 0, Size));
        var ids = new List<uint>();
        for (var index = 0; index < 3; index++)
        {
            var (header, payload) = Chunk(peer);
            Assert.Equal(ReplyType.ExtendedBlockStatus, header.Type);
            Assert.Equal(index == 2, header.IsDone);
            ids.Add(BinaryPrimitives.ReadUInt32BigEndian(payload));
            Assert.Equal(payload.Length, 8 + (16 * BinaryPrimitives.ReadInt32BigEndian(payload.AsSpan(4))));
        }

        void Ask(ulong length, params uint[] wanted)
        {
            var payload = RawPeer.Bytes(length, RawPeer.Bytes([.. wanted.Cast<object>()]));
            peer.Send(
                Request(NbdCommand.BlockStatus, 0, (ulong)payload.Length, CommandFlags.PayloadLength), payload);
        }

        Ask(Size, ids[2]);
        var (only, dirty) = Chunk(peer);
        Assert.True(only.IsDone);
        Assert.Equal(RawPeer.Bytes(ids[2], 3u, 65536UL, 0UL, 65536UL, 1UL, (ulong)Size - 131072, 0UL), dirty);

        Ask(Size, ids[0], ids[0]);
        Assert.Equal(NbdError.EINVAL, Error(peer));
        Ask(Size, 99);
        Assert.Equal(NbdError.EINVAL, Error(peer));
        Ask(Size + 1, ids[0]);
        Assert.Equal(NbdError.EINVAL, Error(peer));
        Ask(0, ids[0]);
        Assert.Equal(NbdError.EINVAL, Error(peer));
        peer.Send(Request(NbdCommand.BlockStatus, 0, 9, CommandFlags.PayloadLength), new byte[9]);
        Assert.Equal(NbdError.EINVAL, Error(peer));
        Ask(Size);
        Assert.Equal((ReplyType.None, true), (Chunk(peer).Header.Type, true));
        Ask(Size, ids[1], ids[0]);
        Assert.False(Chunk(peer).Header.IsDone);
        Assert.True(Chunk(peer).Header.IsDone);
    }

    [Fact]
    public async Task Structured_replies_cannot_follow_and_the_old_way_in_is_shut()
    {
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", new MemoryNode("disk", new byte[Size]));
        var (ours, theirs) = SocketTransport.CreatePair();
        fixture.Server.Serve(theirs);
        var peer = new RawPeer(ours).Greet();
        Assert.Equal(OptionReplyType.Ack, peer.Ask(NbdOption.StructuredReply));
        Assert.Equal(OptionReplyType.Ack, peer.Ask(NbdOption.ExtendedHeaders));
        Assert.Equal(OptionReplyType.Ack, peer.Ask(NbdOption.ExtendedHeaders));
        Assert.Equal(OptionReplyType.ErrorExtendedHeadersRequired, peer.Ask(NbdOption.StructuredReply));
        peer.Send(RawPeer.Option(NbdOption.ExportName, "vda"));
        Assert.True(peer.IsClosed);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public async Task A_client_gets_the_same_by_every_form_of_reply(bool structured, bool extended)
    {
        await using var fixture = await NbdFixture.StartAsync();
        var content = new byte[Size];
        Random.Shared.NextBytes(content.AsSpan(Size / 2));
        var bitmap = new DirtyBitmap("b0", Size) { IsRecording = false };
        bitmap.Set(65536, 1);
        fixture.Export(
            "vda", new MemoryNode("disk", content), new NbdExportOptions { Writable = true, Bitmaps = [bitmap] });
        await using var client = await NbdClient.ConnectAsync(
            fixture.EndPoint,
            new NbdClientOptions
            {
                ExportName = "vda",
                MetaContexts = ["base:", "qemu:"],
                UseStructuredReplies = structured,
                UseExtendedHeaders = extended,
            },
            Cancellation);
        Assert.Equal((structured, extended), (client.HasStructuredReplies, client.HasExtendedHeaders));
        var target = new byte[Size];
        await client.ReadAsync(0, target, Cancellation);
        Assert.Equal(content, target);
        await client.WriteAsync(512, target.AsMemory(Size / 2, 4096), forceUnitAccess: true, Cancellation);
        await client.ReadAsync(512, target.AsMemory(0, 4096), Cancellation);
        Assert.Equal(target.AsSpan(Size / 2, 4096), target.AsSpan(0, 4096));
        await client.WriteZeroesAsync(0, Size, cancellationToken: Cancellation);
        await client.FlushAsync(Cancellation);
        await client.CacheAsync(0, Size, Cancellation);
        Assert.Equal(structured ? ["base:allocation", "qemu:dirty-bitmap:b0"] : [], client.MetaContexts);
        if (structured)
        {
            var extents = new ExtentList();
            await client.GetExtentsAsync("qemu:dirty-bitmap:b0", 0, Size, extents, Cancellation);
            Assert.Equal([false, true, false], extents.Select(extent => extent.IsDirty));
            var raw = new List<NbdExtent>();
            await client.GetMetaContextAsync("qemu:dirty-bitmap:b0", 0, Size, raw, Cancellation);
            Assert.Equal(
                [new(0, 65536, 0), new(65536, 65536, 1), new(131072, Size - 131072, 0)], raw);
        }
    }
}
