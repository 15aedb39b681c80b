using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>A connection that ends at any byte: neither side hangs or leaves anything behind.</summary>
public sealed class CutConversationTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(10);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    // What a client says from the greeting to the farewell.
    private static byte[] ClientSide => RawPeer.Bytes(
        3u,
        RawPeer.Option(NbdOption.List),
        RawPeer.Option(NbdOption.StructuredReply),
        RawPeer.Option(NbdOption.SetMetaContext, RawPeer.Named("vda"), 1u, RawPeer.Named("base:allocation")),
        RawPeer.Option(NbdOption.Go, RawPeer.Named("vda"), (ushort)1, (ushort)3),
        RawPeer.Request(NbdCommand.Write, 512, 64, 1),
        new byte[64],
        RawPeer.Request(NbdCommand.Read, 0, 512, 2),
        RawPeer.Request(NbdCommand.BlockStatus, 0, 4096, 3),
        RawPeer.Request(NbdCommand.Flush, 0, 0, 4),
        RawPeer.Request(NbdCommand.Disconnect, 0, 0, 5));

    private static byte[] ClientHandshake => RawPeer.Bytes(
        3u,
        RawPeer.Option(NbdOption.StructuredReply),
        RawPeer.Option(NbdOption.SetMetaContext, RawPeer.Named("vda"), 1u, RawPeer.Named("base:allocation")),
        RawPeer.Option(NbdOption.Go, RawPeer.Named("vda"), (ushort)2, (ushort)3, (ushort)2));

    private static int ClientHandshakeLength => ClientHandshake.Length;

    [Fact]
    public async Task A_server_survives_a_client_that_leaves_at_any_byte()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var export = fixture.Export(
            "vda", new MemoryNode("disk", new byte[1 << 20]), new NbdExportOptions { Writable = true });
        var bytes = ClientSide;
        for (var length = 0; length <= bytes.Length; length++)
        {
            var (ours, theirs) = SocketTransport.CreatePair();
            var connection = fixture.Server.Serve(theirs);
            using (var peer = new RawPeer(ours))
            {
                ours.Send(bytes.AsSpan(0, length), default);
                ours.EndSending();

                // What the server still says is read, as far as it goes.
                while (!peer.IsClosed)
                {
                }
            }

            await connection.Completed.WaitAsync(s_limit, Cancellation);
        }

        Assert.Equal(0, fixture.Server.ConnectionCount);
        Assert.Equal(0, export.ConnectionCount);
    }

    [Fact]
    public async Task A_server_survives_a_client_that_vanishes_at_any_byte_without_reading()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var export = fixture.Export(
            "vda", new MemoryNode("disk", new byte[1 << 20]), new NbdExportOptions { Writable = true });
        var bytes = ClientSide;
        for (var length = 0; length <= bytes.Length; length += 3)
        {
            var (ours, theirs) = SocketTransport.CreatePair();
            var connection = fixture.Server.Serve(theirs);
            ours.Send(bytes.AsSpan(0, length), default);
            ours.Dispose();
            await connection.Completed.WaitAsync(s_limit, Cancellation);
        }

        Assert.Equal(0, fixture.Server.ConnectionCount);
        Assert.Equal(0, export.ConnectionCount);
    }

    [Fact]
    public async Task A_client_survives_a_server_that_leaves_at_any_byte()
    {
        // What a server says, recorded from ours.
        await using var fixture = await NbdFixture.StartAsync();
        var content = new byte[4096];
        new Random(1).NextBytes(content);
        fixture.Export("vda", new MemoryNode("disk", content), new NbdExportOptions { Writable = true });
        var (bytes, afterHandshake, afterRead) = Record(fixture);
        for (var length = 0; length <= bytes.Length; length++)
        {
            var (ours, theirs) = SocketTransport.CreatePair();
            using var peer = new RawPeer(theirs);
            var end = length;
            var playing = Task.Run(() => Play(peer, bytes.AsSpan(0, end), afterHandshake, afterRead), Cancellation);
            var options = new NbdClientOptions
            {
                ExportName = "vda",
                MetaContexts = ["base:allocation"],
                UseExtendedHeaders = false,
            };
            var complete = await TalkAsync(ours, options).WaitAsync(s_limit, Cancellation);
            Assert.Equal(length == bytes.Length, complete);
            await playing.WaitAsync(s_limit, Cancellation);
        }
    }

    // Replies may come only after their requests, or the client would rightly refuse them.
    private static void Play(RawPeer peer, ReadOnlySpan<byte> bytes, int afterHandshake, int afterRead)
    {
        try
        {
            peer.Transport.Send(bytes[..Math.Min(bytes.Length, afterHandshake)], default);
            if (bytes.Length > afterHandshake)
            {
                peer.Receive(ClientHandshakeLength + RequestHeader.Size);
                peer.Transport.Send(bytes[afterHandshake..Math.Min(bytes.Length, afterRead)], default);
            }

            if (bytes.Length > afterRead)
            {
                peer.Receive(RequestHeader.Size + 512);
                peer.Transport.Send(bytes[afterRead..], default);
            }

            peer.Transport.EndSending();
        }
        catch (IOException)
        {
            // The client has had enough.
        }
    }

    private static async Task<bool> TalkAsync(NbdTransport transport, NbdClientOptions options)
    {
        try
        {
            await using var client = await NbdClient.ConnectAsync(transport, options);
            await client.ReadAsync(0, new byte[512], Cancellation);
            await client.WriteAsync(0, new byte[512], cancellationToken: Cancellation);
            return true;
        }
        catch (NbdException)
        {
            return false;
        }
    }

    private static (byte[] Bytes, int AfterHandshake, int AfterRead) Record(NbdFixture fixture)
    {
        var (ours, theirs) = SocketTransport.CreatePair();
        fixture.Server.Serve(theirs);
        using var peer = new RawPeer(ours);
        using var said = new MemoryStream();
        peer.Send(ClientHandshake);
        said.Write(peer.Receive(18));
        foreach (var option in new[] { NbdOption.StructuredReply, NbdOption.SetMetaContext, NbdOption.Go })
        {
            OptionReplyHeader header;
            do
            {
                var bytes = peer.Receive(OptionReplyHeader.Size);
                OptionReplyHeader.TryRead(bytes, out header);
                Assert.Equal(option, header.Option);
                said.Write(bytes);
                said.Write(peer.Receive((int)header.Length));
            }
            while (header.Type != OptionReplyType.Ack);
        }

        // The cookies that a fresh client gives its first two requests.
        var afterHandshake = (int)said.Length;
        peer.Send(RawPeer.Request(NbdCommand.Read, 0, 512, (1UL << 32) | 63));
        said.Write(peer.Receive(ChunkHeader.Size + 8 + 512));
        var afterRead = (int)said.Length;
        peer.Send(RawPeer.Request(NbdCommand.Write, 0, 512, (2UL << 32) | 63), new byte[512]);
        said.Write(peer.Receive(SimpleReplyHeader.Size));
        return (said.ToArray(), afterHandshake, afterRead);
    }
}
