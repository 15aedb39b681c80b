using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>Our client against a server that breaks the protocol:
/// each reply is checked before it is believed.</summary>
public sealed class ClientProtocolTests
{
    private const ulong Size = 1 << 20;

    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(10);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static byte[] Reply(NbdOption option, OptionReplyType type, params object[] data)
    {
        var body = RawPeer.Bytes(data);
        return RawPeer.Bytes(NbdMagic.OptionReply, (uint)option, (uint)type, (uint)body.Length, body);
    }

    private static byte[] Chunk(ReplyType type, ulong cookie, bool done, params object[] data)
    {
        var body = RawPeer.Bytes(data);
        var header = new byte[ChunkHeader.Size];
        new ChunkHeader(done ? ReplyFlags.Done : ReplyFlags.None, type, cookie, (uint)body.Length).Write(header);
        return RawPeer.Bytes(header, body);
    }

    private static byte[] Simple(ulong cookie, NbdError error = NbdError.None)
    {
        var header = new byte[SimpleReplyHeader.Size];
        new SimpleReplyHeader(error, cookie).Write(header);
        return header;
    }

    private static byte[] Handshake(bool structured = true) => RawPeer.Bytes(
        "NBDMAGIC", "IHAVEOPT", (ushort)3,
        Reply(NbdOption.StructuredReply, structured ? OptionReplyType.Ack : OptionReplyType.ErrorUnsupported),
        structured ? Reply(NbdOption.SetMetaContext, OptionReplyType.MetaContext, 7u, "base:allocation") : [],
        structured ? Reply(NbdOption.SetMetaContext, OptionReplyType.Ack) : [],
        Reply(NbdOption.Go, OptionReplyType.Info, (ushort)0, Size, (ushort)0b1101),
        Reply(NbdOption.Go, OptionReplyType.Ack));

    private static async Task<(NbdClient Client, RawPeer Peer)> ConnectAsync(bool structured = true)
    {
        var (ours, theirs) = SocketTransport.CreatePair();
        var peer = new RawPeer(theirs);
        peer.Send(Handshake(structured));
        var client = await NbdClient.ConnectAsync(
            ours,
            new NbdClientOptions
            {
                MetaContexts = ["base:allocation"],
                CancellationGrace = TimeSpan.FromMilliseconds(50),
                CloseTimeout = TimeSpan.FromMilliseconds(50),
                UseExtendedHeaders = false,
            });
        var skip = 4 + 16 + 16 + 10 + (structured ? 16 + 4 + 4 + 4 + 15 : 0);
        peer.Receive(skip);
        return (client, peer);
    }

    public static TheoryData<string, byte[]> BadHandshakes => new()
    {
        { "no NBD", RawPeer.Bytes("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n") },
        { "oldstyle", RawPeer.Bytes("NBDMAGIC", 0x00420281861253UL, 512UL, 0u, new byte[124]) },
        { "wrong reply magic", RawPeer.Bytes("NBDMAGIC", "IHAVEOPT", (ushort)3, new byte[20]) },
        { "another option's reply", RawPeer.Bytes(
            "NBDMAGIC", "IHAVEOPT", (ushort)3, Reply(NbdOption.Go, OptionReplyType.Ack)) },
        { "huge reply", RawPeer.Bytes(
            "NBDMAGIC", "IHAVEOPT", (ushort)3, NbdMagic.OptionReply, 8u, 1u << 31 | 1, uint.MaxValue) },
        { "data instead of ack", RawPeer.Bytes(
            "NBDMAGIC", "IHAVEOPT", (ushort)3, Reply(NbdOption.StructuredReply, OptionReplyType.Info, (ushort)0)) },
        { "no export info", Go(Reply(NbdOption.Go, OptionReplyType.Ack)) },
        { "short export info", Go(Reply(NbdOption.Go, OptionReplyType.Info, (ushort)0, 512u)) },
        { "length over 2^63", Go(Reply(NbdOption.Go, OptionReplyType.Info, (ushort)0, 1UL << 63, (ushort)1)) },
        { "block size no power of two", Go(Reply(NbdOption.Go, OptionReplyType.Info, (ushort)3, 3u, 4096u, 65536u)) },
        { "block size zero", Go(Reply(NbdOption.Go, OptionReplyType.Info, (ushort)3, 0u, 4096u, 65536u)) },
        { "maximum below minimum", Go(Reply(NbdOption.Go, OptionReplyType.Info, (ushort)3, 4096u, 4096u, 512u)) },
        { "unaligned length", Go(RawPeer.Bytes(
            Reply(NbdOption.Go, OptionReplyType.Info, (ushort)3, 4096u, 4096u, 65536u),
            Reply(NbdOption.Go, OptionReplyType.Info, (ushort)0, 4097UL, (ushort)1),
            Reply(NbdOption.Go, OptionReplyType.Ack))) },
        { "TLS wanted", Go(Reply(NbdOption.Go, OptionReplyType.ErrorTlsRequired)) },
        { "info without end", Go(RawPeer.Bytes(
            [.. Enumerable.Repeat<object>(Reply(NbdOption.Go, OptionReplyType.Info, (ushort)99), 20_000)])) },
    };

    private static byte[] Go(byte[] replies) => RawPeer.Bytes(
        "NBDMAGIC", "IHAVEOPT", (ushort)3, Reply(NbdOption.StructuredReply, OptionReplyType.ErrorUnsupported), replies);

    [Theory]
    [MemberData(nameof(BadHandshakes))]
    public async Task A_bad_handshake_is_refused(string what, byte[] bytes)
    {
        var (ours, theirs) = SocketTransport.CreatePair();
        using var peer = new RawPeer(theirs);
        var connecting = NbdClient.ConnectAsync(ours, new NbdClientOptions { UseExtendedHeaders = false });
        var sending = Task.Run(
            () =>
            {
                try
                {
                    peer.Send(bytes);
                    theirs.EndSending();
                }
                catch (IOException)
                {
                    // The client has had enough.
                }
            },
            Cancellation);
        var error = await Assert.ThrowsAsync<NbdException>(() => connecting.WaitAsync(s_limit, Cancellation));
        Assert.True(error.Message.Length > 10, what);
        await sending;
    }

    public static TheoryData<string, Func<ulong, byte[]>> BadReadReplies => new()
    {
        { "wrong magic", _ => new byte[20] },
        { "simple reply", cookie => RawPeer.Bytes(Simple(cookie), new byte[4096]) },
        { "unknown cookie", cookie => Chunk(ReplyType.None, cookie + 1, true) },
        { "cookie of a free place", _ => Chunk(ReplyType.None, 5, true) },
        { "cookie out of range", _ => Chunk(ReplyType.None, 0xFFFFFFFF, true) },
        { "nothing", cookie => Chunk(ReplyType.None, cookie, true) },
        { "none with data", cookie => Chunk(ReplyType.None, cookie, true, 1u) },
        { "none that is not done", cookie => Chunk(ReplyType.None, cookie, false) },
        { "too little", cookie => Chunk(ReplyType.OffsetData, cookie, true, 8192UL, new byte[4095]) },
        { "too much", cookie => Chunk(ReplyType.OffsetData, cookie, true, 8192UL, new byte[4097]) },
        { "before", cookie => Chunk(ReplyType.OffsetData, cookie, true, 8191UL, new byte[4096]) },
        { "behind", cookie => Chunk(ReplyType.OffsetData, cookie, true, 8193UL, new byte[4096]) },
        { "far away", cookie => Chunk(ReplyType.OffsetData, cookie, true, ulong.MaxValue, new byte[1]) },
        { "empty data", cookie => Chunk(ReplyType.OffsetData, cookie, true, 8192UL) },
        { "overlap", cookie => RawPeer.Bytes(Chunk(ReplyType.OffsetData, cookie, false, 8192UL, new byte[4096]), Chunk(
            ReplyType.OffsetData, cookie, true, 9000UL, new byte[1])) },
        { "gap", cookie => RawPeer.Bytes(Chunk(ReplyType.OffsetData, cookie, false, 8192UL, new byte[2000]), Chunk(
            ReplyType.OffsetHole, cookie, true, 10193UL, 2095u)) },
        { "hole of nothing", cookie => Chunk(ReplyType.OffsetHole, cookie, true, 8192UL, 0u) },
        { "hole too long", cookie => Chunk(ReplyType.OffsetHole, cookie, true, 8192UL, uint.MaxValue) },
        { "hole of a wrong shape", cookie => Chunk(ReplyType.OffsetHole, cookie, true, 8192UL, 4096UL) },
        { "block status", cookie => Chunk(ReplyType.BlockStatus, cookie, true, 7u, 4096u, 0u) },
        { "unknown chunk", cookie => Chunk((ReplyType)77, cookie, true, 8192UL) },
        { "short error", cookie => Chunk(ReplyType.Error, cookie, true, 5u) },
        { "error zero", cookie => Chunk(ReplyType.Error, cookie, true, 0u, (ushort)0) },
        { "error with a long message", cookie => Chunk(ReplyType.Error, cookie, true, 5u, (ushort)100, "short") },
        { "huge error", cookie =>
            RawPeer.Bytes(NbdMagic.StructuredReply, (ushort)1, (ushort)ReplyType.Error, cookie, uint.MaxValue) },
    };

    [Theory]
    [MemberData(nameof(BadReadReplies))]
    public async Task A_bad_reply_to_a_read_ends_the_connection(string what, Func<ulong, byte[]> reply)
    {
        var (client, peer) = await ConnectAsync();
        await using var _ = client;
        using (peer)
        {
            var read = client.ReadAsync(8192, new byte[4096], Cancellation).AsTask();
            Assert.True(RequestHeader.TryRead(peer.Receive(RequestHeader.Size), out var request));
            peer.Send(reply(request.Cookie));
            var error = await Assert.ThrowsAsync<NbdException>(() => read.WaitAsync(s_limit, Cancellation));
            Assert.True(error.Message.Contains(
                "broke the protocol", StringComparison.Ordinal), $"{what}: {error.Message}");
            await Assert.ThrowsAsync<NbdException>(async () => await client.ReadAsync(0, new byte[1], Cancellation));
        }
    }

    public static TheoryData<string, Func<ulong, byte[]>> BadStatusReplies => new()
    {
        { "simple reply", cookie => Simple(cookie) },
        { "no chunk", cookie => Chunk(ReplyType.None, cookie, true) },
        { "no extents", cookie => Chunk(ReplyType.BlockStatus, cookie, true, 7u) },
        { "half an extent", cookie => Chunk(ReplyType.BlockStatus, cookie, true, 7u, 4096u) },
        { "an empty extent", cookie => Chunk(ReplyType.BlockStatus, cookie, true, 7u, 0u, 0u) },
        { "an extent behind the end", cookie => Chunk(ReplyType.BlockStatus, cookie, true, 7u, 65536u, 0u, 512u, 1u) },
        { "an unknown context", cookie => Chunk(ReplyType.BlockStatus, cookie, true, 8u, 65536u, 0u) },
        { "one context twice", cookie => RawPeer.Bytes(Chunk(ReplyType.BlockStatus, cookie, false, 7u, 65536u, 0u),
            Chunk(ReplyType.BlockStatus, cookie, true, 7u, 65536u, 0u)) },
        { "too many extents", cookie =>
            RawPeer.Bytes(NbdMagic.StructuredReply, (ushort)1, (ushort)5, cookie, uint.MaxValue - 3) },
    };

    [Theory]
    [MemberData(nameof(BadStatusReplies))]
    public async Task A_bad_block_status_ends_the_connection(string what, Func<ulong, byte[]> reply)
    {
        var (client, peer) = await ConnectAsync();
        await using var _ = client;
        using (peer)
        {
            var status = client.GetExtentsAsync("base:allocation", 0, 65536, new ExtentList(), Cancellation).AsTask();
            Assert.True(RequestHeader.TryRead(peer.Receive(RequestHeader.Size), out var request));
            peer.Send(reply(request.Cookie));
            var error = await Assert.ThrowsAsync<NbdException>(() => status.WaitAsync(s_limit, Cancellation));
            Assert.True(error.Message.Contains(
                "broke the protocol", StringComparison.Ordinal), $"{what}: {error.Message}");
        }
    }

    [Fact]
    public async Task Chunks_may_come_in_any_order_and_errors_fail_only_their_request()
    {
        var (client, peer) = await ConnectAsync();
        await using var _ = client;
        using (peer)
        {
            var target = new byte[4096];
            target.AsSpan().Fill(0xEE);
            var read = client.ReadAsync(8192, target, Cancellation).AsTask();
            var failing = client.ReadAsync(0, new byte[512], Cancellation).AsTask();
            RequestHeader.TryRead(peer.Receive(RequestHeader.Size), out var first);
            RequestHeader.TryRead(peer.Receive(RequestHeader.Size), out var second);
            peer.Send(
                Chunk(ReplyType.OffsetData, first.Cookie, false, 8192UL
                    + 3000, Enumerable.Repeat((byte)3, 1096).ToArray()),
                Chunk(ReplyType.ErrorOffset, second.Cookie, false, 5u, (ushort)4, "ouch", 100UL),
                Chunk(ReplyType.OffsetData, first.Cookie, false, 8192UL, Enumerable.Repeat((byte)1, 1000).ToArray()),
                Chunk((ReplyType)0x8077, second.Cookie, true, 28u, (ushort)0, 1u),
                Chunk(ReplyType.OffsetHole, first.Cookie, false, 8192UL + 1000, 2000u),
                Chunk(ReplyType.None, first.Cookie, true));
            await read.WaitAsync(s_limit, Cancellation);
            Assert.Equal(
                Enumerable.Repeat((byte)1, 1000).Concat(new byte[2000]).Concat(Enumerable.Repeat((byte)3, 1096)),
                target);
            var error = await Assert.ThrowsAsync<NbdException>(() => failing);
            Assert.Equal(NbdError.EIO, error.Error);
            Assert.Contains("ouch", error.Message, StringComparison.Ordinal);
            Assert.Null(client.Failure);
        }
    }

    [Fact]
    public async Task A_reply_that_comes_twice_ends_the_connection()
    {
        var (client, peer) = await ConnectAsync(structured: false);
        await using var _ = client;
        using (peer)
        {
            var read = client.ReadAsync(0, new byte[4], Cancellation).AsTask();
            RequestHeader.TryRead(peer.Receive(RequestHeader.Size), out var request);
            peer.Send(Simple(request.Cookie), 0x01020304u, Simple(request.Cookie));
            await read.WaitAsync(s_limit, Cancellation);
            while (client.Failure is null)
            {
                await Task.Yield();
            }
        }
    }

    [Fact]
    public async Task A_short_answer_to_block_status_is_asked_on_from_its_end()
    {
        var (client, peer) = await ConnectAsync();
        await using var _ = client;
        using (peer)
        {
            ExtentList extents = new();
            var status = client.GetExtentsAsync("base:allocation", 0, 65536, extents, Cancellation).AsTask();
            RequestHeader.TryRead(peer.Receive(RequestHeader.Size), out var request);
            peer.Send(Chunk(ReplyType.BlockStatus, request.Cookie, true, 7u, 4096u, 3u, 512u, 0xFFFFFFF0u));
            RequestHeader.TryRead(peer.Receive(RequestHeader.Size), out request);
            Assert.Equal((4608UL, 65536u - 4608), (request.Offset, request.Length));

            // The last extent may reach past the request.
            peer.Send(Chunk(ReplyType.BlockStatus, request.Cookie, true, 7u, 1u << 31, 2u));
            await status.WaitAsync(s_limit, Cancellation);
            Assert.Equal(
                [
                    new Extent(0, 4096, ExtentFlags.Hole | ExtentFlags.Zero),
                    new Extent(4096, 512, ExtentFlags.None),
                    new Extent(4608, 65536 - 4608, ExtentFlags.Zero),
                ],
                extents);
        }
    }

    [Fact]
    public async Task A_cancelled_request_keeps_its_memory_until_the_connection_is_given_up()
    {
        var (client, peer) = await ConnectAsync();
        await using var _ = client;
        using (peer)
        {
            using var cancel = new CancellationTokenSource();
            var read = client.ReadAsync(0, new byte[512], cancel.Token).AsTask();
            var other = client.ReadAsync(0, new byte[512], Cancellation).AsTask();
            await cancel.CancelAsync();
            Assert.False(read.IsCompleted);
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => read.WaitAsync(s_limit, Cancellation));
            var error = await Assert.ThrowsAsync<NbdException>(() => other.WaitAsync(s_limit, Cancellation));
            Assert.Contains("cancelled request was not answered", error.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_cancelled_request_that_is_answered_in_time_harms_nobody()
    {
        var (client, peer) = await ConnectAsync(structured: false);
        await using var _ = client;
        using (peer)
        {
            using var cancel = new CancellationTokenSource();
            var read = client.ReadAsync(0, new byte[4], cancel.Token).AsTask();
            await cancel.CancelAsync();
            RequestHeader.TryRead(peer.Receive(RequestHeader.Size), out var request);
            peer.Send(Simple(request.Cookie), 0x01020304u);
            await read.WaitAsync(s_limit, Cancellation);
            await Task.Delay(TimeSpan.FromMilliseconds(200), Cancellation);
            Assert.Null(client.Failure);
        }
    }

    [Fact]
    public async Task A_server_that_does_not_answer_the_handshake_is_given_up_in_time()
    {
        using var directory = new Testing.TemporaryDirectory();
        using var listener = new System.Net.Sockets.Socket(
            System.Net.Sockets.AddressFamily.Unix, System.Net.Sockets.SocketType.Stream,
            System.Net.Sockets.ProtocolType.Unspecified);
        listener.Bind(new System.Net.Sockets.UnixDomainSocketEndPoint(directory.File("s")));
        listener.Listen();
        var endPoint = NbdEndPoint.ForUnix(directory.File("s"));
        var error = await Assert.ThrowsAsync<NbdException>(() => NbdClient.ConnectAsync(
            endPoint, new NbdClientOptions { ConnectTimeout = TimeSpan.FromMilliseconds(100) }, Cancellation));
        Assert.Contains("no answer within", error.Message, StringComparison.Ordinal);
        using var cancel = new CancellationTokenSource(TimeSpan.FromMilliseconds(50));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => NbdClient.ConnectAsync(endPoint, null, cancel.Token));
        error = await Assert.ThrowsAsync<NbdException>(() => NbdClient.ConnectAsync(
            NbdEndPoint.ForUnix(directory.File("absent")), null, Cancellation));
        Assert.Equal(BlockErrorKind.NotFound, error.Kind);
    }
}
