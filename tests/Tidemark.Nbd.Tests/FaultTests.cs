using System.Buffers.Binary;
using System.Diagnostics;
using System.Net.Sockets;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>Slow, silent and absent peers; disks that fail.</summary>
public sealed class FaultTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_client_that_stops_reading_holds_up_nobody_and_can_be_cut_off()
    {
        await using var fixture = await NbdFixture.StartAsync(
            new NbdServerOptions { StopTimeout = TimeSpan.FromMilliseconds(100) });
        var content = new byte[8 << 20];
        Random.Shared.NextBytes(content);
        fixture.Export("vda", new MemoryNode("disk", content));
        var (ours, theirs) = SocketTransport.CreatePair();
        var connection = fixture.Server.Serve(theirs);
        using var peer = new RawPeer(ours).Enter("vda");
        for (var index = 0UL; index < 20; index++)
        {
            peer.Send(RawPeer.Request(NbdCommand.Read, 0, 4 << 20, index));
        }

        // Others are served meanwhile, and stopping ends it.
        var client = await fixture.ConnectAsync("vda");
        await client.ReadAsync(0, new byte[4096], Cancellation);
        await fixture.Server.StopAsync().WaitAsync(s_limit, Cancellation);
        Assert.True(connection.Completed.IsCompleted);
    }

    [Fact]
    public async Task A_server_that_stops_reading_is_given_up_at_the_deadline()
    {
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", new MemoryNode("disk", new byte[64 << 20]), new NbdExportOptions { Writable = true });
        var disk = new FaultNode("held", 64 << 20);
        fixture.Export("held", disk, new NbdExportOptions { Writable = true });
        var hold = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        disk.Hold = hold.Task;
        await using var client = await NbdClient.ConnectAsync(
            fixture.EndPoint,
            new NbdClientOptions
            {
                ExportName = "held",
                RequestTimeout = TimeSpan.FromMilliseconds(100),
                CloseTimeout = TimeSpan.FromMilliseconds(100),
            },
            Cancellation);

        // More than server and sockets take: some sender blocks in its send.
        var writes = Enumerable.Range(0, 24)
            .Select(index => Task.Run(
                async () => await client.WriteAsync(index << 20, new byte[8 << 20], cancellationToken: Cancellation),
                Cancellation))
            .ToArray();
        foreach (var write in writes)
        {
            await Assert.ThrowsAsync<NbdException>(() => write.WaitAsync(s_limit, Cancellation));
        }

        Assert.False(client.IsSettled);
        disk.Hold = null;
        hold.SetResult();
    }

    [Fact]
    public async Task A_client_that_trickles_its_handshake_is_cut_off_at_the_deadline()
    {
        await using var fixture = await NbdFixture.StartAsync(
            new NbdServerOptions { HandshakeTimeout = TimeSpan.FromMilliseconds(300) });
        var (ours, theirs) = SocketTransport.CreatePair();
        var connection = fixture.Server.Serve(theirs);
        using var peer = new RawPeer(ours);
        var words = RawPeer.Bytes(3u, RawPeer.Option(NbdOption.List));
        var sent = 0;
        try
        {
            while (!connection.Completed.IsCompleted)
            {
                ours.Send(words.AsSpan(sent++ % words.Length, 1), default);
                await Task.Delay(20, Cancellation);
            }
        }
        catch (IOException)
        {
            // Cut off.
        }

        await connection.Completed.WaitAsync(s_limit, Cancellation);
    }

    [Fact]
    public async Task A_request_that_trickles_in_is_served_and_holds_up_nobody()
    {
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", new MemoryNode("disk", new byte[4096]), new NbdExportOptions { Writable = true });
        var (ours, theirs) = SocketTransport.CreatePair();
        fixture.Server.Serve(theirs);
        using var peer = new RawPeer(ours).Enter("vda");
        var request = RawPeer.Bytes(RawPeer.Request(NbdCommand.Write, 0, 8), new byte[8]);
        var client = await fixture.ConnectAsync("vda");
        foreach (var one in request)
        {
            peer.Send(one);
            await client.ReadAsync(0, new byte[512], Cancellation);
        }

        Assert.Equal(NbdError.None, peer.SimpleReply().Error);
    }

    [Fact]
    public async Task A_server_that_trickles_its_greeting_is_given_up_at_the_deadline()
    {
        using var directory = new TemporaryDirectory();
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(directory.File("s")));
        listener.Listen();
        var trickling = Task.Run(
            async () =>
            {
                using var accepted = await listener.AcceptAsync(Cancellation);
                try
                {
                    foreach (var one in RawPeer.Bytes("NBDMAGIC", "IHAVEOPT", (ushort)3))
                    {
                        await accepted.SendAsync(new[] { one }, Cancellation);
                        await Task.Delay(100, Cancellation);
                    }
                }
                catch (SocketException)
                {
                    // The client has had enough.
                }
            },
            Cancellation);
        var watch = Stopwatch.StartNew();
        await Assert.ThrowsAsync<NbdException>(() => NbdClient.ConnectAsync(
            NbdEndPoint.ForUnix(directory.File("s")),
            new NbdClientOptions { ConnectTimeout = TimeSpan.FromMilliseconds(300) },
            Cancellation));
        Assert.InRange(watch.Elapsed, TimeSpan.Zero, s_limit);
        await trickling;
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task A_thousand_silent_connections_do_not_keep_others_out_for_longer_than_the_deadline()
    {
        await using var fixture = await NbdFixture.StartAsync(new NbdServerOptions
        {
            MaximumConnections = 1000,
            HandshakeTimeout = TimeSpan.FromSeconds(2),
        });
        fixture.Export("vda", new MemoryNode("disk", new byte[8192]));
        var before = await fixture.ConnectAsync("vda");
        List<Socket> silent = [];
        try
        {
            for (var index = 0; index < 1000; index++)
            {
                var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                silent.Add(socket);
                await Task.Run(
                    () => socket.Connect(new UnixDomainSocketEndPoint(fixture.SocketPath)), Cancellation);
            }

            // Who is in is served; the limit holds; who comes now gets in when the silent ones are cut off.
            await before.ReadAsync(0, new byte[512], Cancellation);
            Assert.InRange(fixture.Server.ConnectionCount, 1, 1000);
            NbdClient? after = null;
            while (after is null)
            {
                try
                {
                    after = await fixture.ConnectAsync("vda");
                }
                catch (NbdException)
                {
                    // The kernel's queue of those that wait is full: it says so at once.
                    await Task.Delay(20, Cancellation);
                }
            }

            await after.ReadAsync(0, new byte[512], Cancellation);
            while (fixture.Server.ConnectionCount > 2)
            {
                await Task.Delay(20, Cancellation);
            }
        }
        finally
        {
            silent.ForEach(socket => socket.Dispose());
        }
    }

    [Theory]
    [InlineData(BlockErrorKind.Io, NbdError.EIO)]
    [InlineData(BlockErrorKind.NoSpace, NbdError.ENOSPC)]
    [InlineData(BlockErrorKind.ReadOnly, NbdError.EPERM)]
    [InlineData(BlockErrorKind.OutOfRange, NbdError.EINVAL)]
    [InlineData(BlockErrorKind.NotSupported, NbdError.EINVAL)]
    [InlineData(BlockErrorKind.Busy, NbdError.EIO)]
    public async Task A_disks_failure_becomes_the_documents_error_and_comes_back_as_its_kind(
        BlockErrorKind kind, NbdError expected)
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new FaultNode("disk", 1 << 20);
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true });
        var client = await fixture.ConnectAsync("vda");
        disk.Fault = new BlockException(kind, "the disk has had it");
        foreach (var call in new Func<ValueTask>[]
        {
            () => client.ReadAsync(0, new byte[512], Cancellation),
            () => client.WriteAsync(0, new byte[512], cancellationToken: Cancellation),
            () => client.WriteZeroesAsync(0, 512, cancellationToken: Cancellation),
        })
        {
            var error = await Assert.ThrowsAsync<NbdException>(async () => await call());
            Assert.Equal(expected, error.Error);
            Assert.Equal(NbdErrors.ToKind(expected), error.Kind);
            Assert.Contains("the disk has had it", error.Message, StringComparison.Ordinal);
        }

        disk.Fault = null;
        await client.ReadAsync(0, new byte[512], Cancellation);
    }

    [Fact]
    public async Task A_file_that_was_cut_short_under_the_server_is_an_error_and_never_made_up_bytes()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var path = fixture.Directory.File("d");
        var disk = Blocks.Files.RawFileNode.Create("disk", path, 1 << 20);
        await disk.WriteAsync(0, Enumerable.Repeat((byte)7, 1 << 20).ToArray(), cancellationToken: Cancellation);
        fixture.Export("vda", disk);
        var client = await fixture.ConnectAsync("vda");
        Assert.Equal(0, Truncate(path, 300_000));
        var error = await Assert.ThrowsAsync<NbdException>(
            async () => await client.ReadAsync(0, new byte[1 << 20], Cancellation));
        Assert.Equal(NbdError.EIO, error.Error);
        await client.ReadAsync(0, new byte[4096], Cancellation);
    }

    // The runtime's own way would stop at its lock, which the disk's file holds.
    private static int Truncate(string path, long length)
    {
        [System.Runtime.InteropServices.DllImport("libc", EntryPoint = "truncate")]
        static extern int Cut(byte[] path, long length);
        return Cut([.. System.Text.Encoding.UTF8.GetBytes(path), 0], length);
    }

    [Fact]
    public async Task A_bad_place_is_reported_with_its_offset_and_what_lies_before_it()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new BadPlaceNode("disk", 1 << 20, bad: 300_000);
        fixture.Export("vda", disk);
        var client = await fixture.ConnectAsync("vda");
        var error = await Assert.ThrowsAsync<NbdException>(
            async () => await client.ReadAsync(4096, new byte[512 << 10], Cancellation));
        Assert.Equal(NbdError.EIO, error.Error);
        Assert.Equal(300_000 / 512 * 512, error.ErrorOffset);

        var (ours, theirs) = SocketTransport.CreatePair();
        fixture.Server.Serve(theirs);
        using var peer = new RawPeer(ours).Enter("vda");
        peer.Send(RawPeer.Request(NbdCommand.Read, 0, 512 << 10));
        var (data, payload) = peer.Chunk();
        Assert.Equal((ReplyType.OffsetData, false), (data.Type, data.IsDone));
        Assert.Equal(8 + (300_000 / 512 * 512), payload.Length);
        Assert.Equal(-1, payload.AsSpan(8).IndexOfAnyExcept((byte)1));
        var (last, fields) = peer.Chunk();
        Assert.Equal((ReplyType.ErrorOffset, true), (last.Type, last.IsDone));
        Assert.Equal(300_000UL / 512 * 512, BinaryPrimitives.ReadUInt64BigEndian(fields.AsSpan(fields.Length - 8)));

        // With DF there is one chunk, so nothing but the error.
        peer.Send(RawPeer.Request(NbdCommand.Read, 0, 512 << 10, 1, CommandFlags.DontFragment));
        Assert.Equal(NbdError.EIO, peer.ErrorChunk());
    }

    private sealed class BadPlaceNode(string name, long length, long bad) : BlockNode(name)
    {
        public override string Driver => "bad";

        public override long Length => length;

        public override bool IsReadOnly => true;

        public override ValueTask DisposeAsync() => default;

        protected override ValueTask ReadCoreAsync(
            long offset, Memory<byte> target, CancellationToken cancellationToken)
        {
            if (offset <= bad && bad < offset + target.Length)
            {
                throw new BlockException(BlockErrorKind.Io, $"bad place at {bad}");
            }

            target.Span.Fill(1);
            return default;
        }
    }
}
