using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>What the document asks of a client, against a server whose every word is written here.</summary>
public sealed class ClientConformanceTests
{
    private const ulong Size = 1 << 20;

    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(10);

    private static readonly NbdClientOptions s_options = new()
    {
        ExportName = "vda",
        UseExtendedHeaders = false,
        CloseTimeout = TimeSpan.FromMilliseconds(200),
    };

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static byte[] Greeting(ushort flags = 3) => RawPeer.Bytes("NBDMAGIC", "IHAVEOPT", flags);

    private static byte[] Reply(NbdOption option, OptionReplyType type, params object[] data)
    {
        var body = RawPeer.Bytes(data);
        return RawPeer.Bytes(NbdMagic.OptionReply, (uint)option, (uint)type, (uint)body.Length, body);
    }

    private static byte[] Export(NbdTransmissionFlags flags) => RawPeer.Bytes(
        Reply(NbdOption.Go, OptionReplyType.Info, (ushort)0, Size, (ushort)flags),
        Reply(NbdOption.Go, OptionReplyType.Ack));

    private static byte[] Structured(OptionReplyType type) => Reply(NbdOption.StructuredReply, type);

    // Connects to a server that says these bytes, and returns what the client has said by then.
    private static async Task<(NbdClient? Client, RawPeer Peer, NbdException? Error)> ConnectAsync(
        NbdClientOptions options, params byte[][] words)
    {
        var (ours, theirs) = SocketTransport.CreatePair();
        var peer = new RawPeer(theirs);
        peer.Send([.. words.Cast<object>()]);
        try
        {
            return (await NbdClient.ConnectAsync(ours, options).WaitAsync(s_limit, Cancellation), peer, null);
        }
        catch (NbdException exception)
        {
            return (null, peer, exception);
        }
    }

    // A client that has entered, with structured replies or without, and has said nothing since.
    private static async Task<(NbdClient Client, RawPeer Peer)> EnterAsync(OptionReplyType structured)
    {
        var (client, peer, _) = await ConnectAsync(
            s_options, Greeting(), Structured(structured), Export(NbdTransmissionFlags.HasFlags));
        peer.Receive(4 + 16 + 16 + 13);
        return (client!, peer);
    }

    private static (NbdOption Option, byte[] Data) NextOption(RawPeer peer)
    {
        Assert.True(OptionHeader.TryRead(peer.Receive(OptionHeader.Size), out var header));
        return (header.Option, peer.Receive((int)header.Length));
    }

    private static RequestHeader NextRequest(RawPeer peer)
    {
        Assert.True(RequestHeader.TryRead(peer.Receive(RequestHeader.Size), out var header));
        return header;
    }

    private static byte[] Simple(ulong cookie, NbdError error = NbdError.None)
    {
        var header = new byte[SimpleReplyHeader.Size];
        new SimpleReplyHeader(error, cookie).Write(header);
        return header;
    }

    [Fact]
    public async Task Unknown_flags_information_and_reply_flags_are_ignored()
    {
        var (client, peer, _) = await ConnectAsync(
            s_options,
            Greeting(0xFFFF),
            Structured(OptionReplyType.Ack),
            Reply(NbdOption.Go, OptionReplyType.Info, (ushort)77, "what is this"),
            Reply(NbdOption.Go, OptionReplyType.Info, (ushort)1, "canonical"),
            Export((NbdTransmissionFlags)0xFFFD));
        using var _ = peer;
        Assert.Equal(3u, peer.UInt32());
        Assert.Equal((long)Size, client!.Length);
        NextOption(peer);
        NextOption(peer);
        var reading = client.ReadAsync(0, new byte[512], Cancellation).AsTask();
        var request = NextRequest(peer);
        var header = new byte[ChunkHeader.Size];
        new ChunkHeader((ReplyFlags)0xFFFF, ReplyType.OffsetData, request.Cookie, 520).Write(header);
        peer.Send(header, 0UL, new byte[512]);
        await reading.WaitAsync(s_limit, Cancellation);
    }

    [Fact]
    public async Task The_client_asks_for_block_sizes_in_go_once_and_sends_no_data_where_none_belongs()
    {
        var (client, peer, _) = await ConnectAsync(
            s_options, Greeting(), Structured(OptionReplyType.Ack), Export(NbdTransmissionFlags.HasFlags));
        using var _ = peer;
        Assert.NotNull(client);
        peer.UInt32();
        Assert.Equal((NbdOption.StructuredReply, 0), (NextOption(peer) is var (o, d) ? o : 0, d.Length));
        var (option, data) = NextOption(peer);
        Assert.Equal(NbdOption.Go, option);
        Assert.Equal(RawPeer.Bytes(RawPeer.Named("vda"), (ushort)2, (ushort)3, (ushort)2), data);
    }

    [Theory]
    [InlineData((ushort)3, 2u | 1u, false)]
    [InlineData((ushort)1, 1u, true)]
    [InlineData((ushort)0, 0u, true)]
    public async Task An_old_server_is_entered_by_export_name(ushort flags, uint answer, bool padding)
    {
        var fixedNewstyle = (flags & 1) != 0;
        var (client, peer, _) = await ConnectAsync(
            s_options,
            Greeting(flags),
            fixedNewstyle ? Structured(OptionReplyType.ErrorUnsupported) : [],
            fixedNewstyle ? Reply(NbdOption.Go, OptionReplyType.ErrorUnsupported) : [],
            RawPeer.Bytes(Size, (ushort)1, new byte[padding ? 124 : 0]));
        using var _ = peer;
        Assert.Equal(answer, peer.UInt32());
        Assert.Equal((long)Size, client!.Length);
        Assert.Equal(1, client.MinimumBlockSize);
        if (fixedNewstyle)
        {
            NextOption(peer);
            NextOption(peer);
        }

        Assert.Equal(NbdOption.ExportName, NextOption(peer).Option);
        var reading = client.ReadAsync(0, new byte[4], Cancellation).AsTask();
        var request = NextRequest(peer);
        Assert.Equal(CommandFlags.None, request.Flags);
        peer.Send(Simple(request.Cookie), new byte[4]);
        await reading.WaitAsync(s_limit, Cancellation);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_refusal_is_followed_by_a_soft_disconnect(bool shutdown)
    {
        var refusal = shutdown
            ? Structured(OptionReplyType.ErrorShutdown)
            : RawPeer.Bytes(
                Structured(OptionReplyType.Ack), Reply(NbdOption.Go, OptionReplyType.ErrorUnknown, "no such export"));
        var (_, peer, error) = await ConnectAsync(s_options, Greeting(), refusal);
        using var _ = peer;
        Assert.NotNull(error);
        Assert.Equal(shutdown ? BlockErrorKind.Io : BlockErrorKind.NotFound, error.Kind);
        peer.UInt32();
        Assert.Equal(NbdOption.StructuredReply, NextOption(peer).Option);
        if (!shutdown)
        {
            Assert.Equal(NbdOption.Go, NextOption(peer).Option);
        }

        Assert.Equal((NbdOption.Abort, 0), (NextOption(peer) is var (o, d) ? o : 0, d.Length));
        Assert.True(peer.IsClosed);
    }

    [Fact]
    public async Task A_server_that_is_shutting_down_gets_a_farewell_when_all_is_answered()
    {
        var (client, peer) = await EnterAsync(OptionReplyType.ErrorUnsupported);
        using var _ = peer;
        var first = client.ReadAsync(0, new byte[512], Cancellation).AsTask();
        var second = client.ReadAsync(512, new byte[512], Cancellation).AsTask();
        var one = NextRequest(peer);
        var two = NextRequest(peer);
        peer.Send(Simple(one.Cookie, NbdError.ESHUTDOWN));
        var refused = one.Offset == 0 ? first : second;
        var error = await Assert.ThrowsAsync<NbdException>(() => refused.WaitAsync(s_limit, Cancellation));
        Assert.Equal(NbdError.ESHUTDOWN, error.Error);
        await Assert.ThrowsAsync<NbdException>(async () => await client.ReadAsync(0, new byte[1], Cancellation));
        peer.Send(Simple(two.Cookie), new byte[512]);
        await (one.Offset == 0 ? second : first).WaitAsync(s_limit, Cancellation);
        var farewell = NextRequest(peer);
        Assert.Equal((NbdCommand.Disconnect, 0UL, 0UL), (farewell.Command, farewell.Offset, farewell.Length));
    }

    [Fact]
    public async Task What_the_server_does_not_offer_is_not_sent()
    {
        var (client, peer) = await EnterAsync(OptionReplyType.ErrorUnsupported);
        using var _ = peer;
        await client.FlushAsync(Cancellation);
        await client.TrimAsync(0, 4096, Cancellation);
        await client.CacheAsync(0, 4096, Cancellation);
        var error = await Assert.ThrowsAsync<NbdException>(
            async () => await client.WriteZeroesAsync(0, 4096, WriteFlags.NoFallback, Cancellation));
        Assert.Equal(BlockErrorKind.NotSupported, error.Kind);
        await Assert.ThrowsAsync<NbdException>(async () => await client.ResizeAsync(4096, Cancellation));
        await Assert.ThrowsAsync<NbdException>(async () => await client.GetMetaContextAsync(
            "base:allocation", 0, 4096, [], Cancellation));
        await Assert.ThrowsAsync<NbdException>(
            async () => await client.ReadAsync((long)Size, new byte[1], Cancellation));

        // Zeroes are written out, and durability is asked for by nothing that is not there.
        var zeroing = client.WriteZeroesAsync(0, 4096, WriteFlags.ForceUnitAccess, Cancellation).AsTask();
        var request = NextRequest(peer);
        Assert.Equal((NbdCommand.Write, CommandFlags.None, 4096UL), (request.Command, request.Flags, request.Length));
        peer.Receive(4096);
        peer.Send(Simple(request.Cookie));
        await zeroing.WaitAsync(s_limit, Cancellation);
    }

    [Fact]
    public async Task Requests_keep_to_the_block_sizes_of_the_server()
    {
        var (client, peer, _) = await ConnectAsync(
            s_options,
            Greeting(),
            Structured(OptionReplyType.ErrorUnsupported),
            Reply(NbdOption.Go, OptionReplyType.Info, (ushort)3, 512u, 4096u, 10000u),
            Export(NbdTransmissionFlags.HasFlags));
        using var _ = peer;
        peer.Receive(4 + 16 + 16 + 13);
        await Assert.ThrowsAsync<NbdException>(async () => await client!.ReadAsync(1, new byte[512], Cancellation));
        await Assert.ThrowsAsync<NbdException>(async () => await client!.ReadAsync(512, new byte[500], Cancellation));
        var reading = client!.ReadAsync(512, new byte[20480], Cancellation).AsTask();
        var offset = 512UL;
        while (offset < 512 + 20480)
        {
            var request = NextRequest(peer);
            Assert.Equal(offset, request.Offset);
            Assert.InRange(request.Length, 512UL, 10000UL);
            Assert.Equal(0UL, request.Length % 512);
            peer.Send(Simple(request.Cookie), new byte[request.Length]);
            offset += request.Length;
        }

        await reading.WaitAsync(s_limit, Cancellation);
    }

    [Theory]
    [InlineData(1, BlockErrorKind.ReadOnly)]
    [InlineData(5, BlockErrorKind.Io)]
    [InlineData(28, BlockErrorKind.NoSpace)]
    [InlineData(108, BlockErrorKind.Io)]
    [InlineData(4711, BlockErrorKind.Invalid)]
    public async Task An_error_fails_its_request_and_an_unknown_one_counts_as_invalid(int error, BlockErrorKind kind)
    {
        var (client, peer) = await EnterAsync(OptionReplyType.ErrorUnsupported);
        using var _ = peer;
        var reading = client.ReadAsync(0, new byte[512], Cancellation).AsTask();
        peer.Send(Simple(NextRequest(peer).Cookie, (NbdError)error));
        var failure = await Assert.ThrowsAsync<NbdException>(() => reading.WaitAsync(s_limit, Cancellation));
        Assert.Equal(kind, failure.Kind);
    }

    [Fact]
    public async Task Contexts_that_come_before_an_error_do_not_count()
    {
        var (client, peer, _) = await ConnectAsync(
            s_options with { MetaContexts = ["qemu:", "base:allocation"] },
            Greeting(),
            Structured(OptionReplyType.Ack),
            Reply(NbdOption.ListMetaContext, OptionReplyType.MetaContext, 99u, "qemu:dirty-bitmap:b"),
            Reply(NbdOption.ListMetaContext, OptionReplyType.ErrorPolicy, "no"),
            Reply(NbdOption.SetMetaContext, OptionReplyType.MetaContext, 7u, "base:allocation"),
            Reply(NbdOption.SetMetaContext, OptionReplyType.ErrorTooBig, "no"),
            Export(NbdTransmissionFlags.HasFlags));
        using var _ = peer;
        Assert.Empty(client!.MetaContexts);
        peer.UInt32();
        NextOption(peer);
        Assert.Equal(RawPeer.Bytes(RawPeer.Named("vda"), 1u, RawPeer.Named("qemu:")), NextOption(peer).Data);
        Assert.Equal(RawPeer.Bytes(RawPeer.Named("vda"), 1u, RawPeer.Named("base:allocation")), NextOption(peer).Data);
    }

    [Fact]
    public async Task An_error_chunk_of_an_unknown_kind_fails_its_request_alone()
    {
        var (client, peer) = await EnterAsync(OptionReplyType.Ack);
        using var _ = peer;
        var reading = client.ReadAsync(0, new byte[512], Cancellation).AsTask();
        var header = new byte[ChunkHeader.Size];
        new ChunkHeader(ReplyFlags.Done, (ReplyType)0x8123, NextRequest(peer).Cookie, 6 + 2 + 20).Write(header);
        peer.Send(header, 5u, (ushort)2, "no", new byte[20]);
        await Assert.ThrowsAsync<NbdException>(() => reading.WaitAsync(s_limit, Cancellation));
        Assert.Null(client.Failure);
    }

    [Fact]
    public async Task A_server_that_refuses_tls_or_cannot_is_left_where_tls_is_required()
    {
        var tls = s_options with { Tls = Tls.NbdClientTls.Load(null) };
        var (_, old, error) = await ConnectAsync(tls, Greeting(0));
        Assert.Equal(BlockErrorKind.NotSupported, error!.Kind);
        old.UInt32();
        Assert.True(old.IsClosed);
        var (_, peer, refusal) = await ConnectAsync(
            tls, Greeting(), Reply(NbdOption.StartTls, OptionReplyType.ErrorPolicy, "no"));
        Assert.Equal(BlockErrorKind.NotSupported, refusal!.Kind);
        peer.UInt32();
        Assert.Equal((NbdOption.StartTls, 0), (NextOption(peer) is var (o, d) ? o : 0, d.Length));
        Assert.Equal(NbdOption.Abort, NextOption(peer).Option);
        var (client, willing, _) = await ConnectAsync(
            s_options with { Tls = Tls.NbdClientTls.Load(null, NbdTlsMode.Allow) },
            Greeting(),
            Reply(NbdOption.StartTls, OptionReplyType.ErrorUnsupported),
            Structured(OptionReplyType.Ack),
            Export(NbdTransmissionFlags.HasFlags));
        Assert.NotNull(client);
        willing.Dispose();
    }

    [Fact]
    public async Task Unknown_states_of_an_extent_are_ignored()
    {
        var (client, peer, _) = await ConnectAsync(
            s_options with { MetaContexts = ["base:allocation"] },
            Greeting(),
            Structured(OptionReplyType.Ack),
            Reply(NbdOption.SetMetaContext, OptionReplyType.MetaContext, 7u, "base:allocation"),
            Reply(NbdOption.SetMetaContext, OptionReplyType.Ack),
            Export(NbdTransmissionFlags.HasFlags));
        using var _ = peer;
        peer.UInt32();
        NextOption(peer);
        NextOption(peer);
        NextOption(peer);
        var extents = new Blocks.Extents.ExtentList();
        var asking = client!.GetExtentsAsync("base:allocation", 0, 4096, extents, Cancellation).AsTask();
        var header = new byte[ChunkHeader.Size];
        new ChunkHeader(ReplyFlags.Done, ReplyType.BlockStatus, NextRequest(peer).Cookie, 12).Write(header);
        peer.Send(header, 7u, 4096u, 0xFFFFFFF2u);
        await asking.WaitAsync(s_limit, Cancellation);
        Assert.Equal(new(0, 4096, Blocks.Extents.ExtentFlags.Zero), Assert.Single(extents));
    }

    [Theory]
    [InlineData(511UL, 14, false)]
    [InlineData(1025UL, 14, false)]
    [InlineData(700UL, 10, false)]
    [InlineData(700UL, 14, true)]
    public async Task An_error_with_an_offset_outside_of_its_request_ends_the_connection(
        ulong offset, int length, bool good)
    {
        var (client, peer) = await EnterAsync(OptionReplyType.Ack);
        using var _ = peer;
        var reading = client.ReadAsync(512, new byte[512], Cancellation).AsTask();
        var header = new byte[ChunkHeader.Size];
        new ChunkHeader(ReplyFlags.Done, ReplyType.ErrorOffset, NextRequest(peer).Cookie, (ulong)length).Write(header);
        peer.Send(header, RawPeer.Bytes(5u, (ushort)0, offset).AsSpan(0, length).ToArray());
        peer.Transport.EndSending();
        var error = await Assert.ThrowsAsync<NbdException>(() => reading.WaitAsync(s_limit, Cancellation));
        Assert.Equal(good ? (long?)offset : null, error.ErrorOffset);
        Assert.Equal(good ? NbdError.EIO : NbdError.None, error.Error);
    }
}
