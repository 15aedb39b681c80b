using System.Text;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>Each option of the handshake and each misuse of it, byte by byte (doc/proto.md, "Option types").</summary>
public sealed class ServerHandshakeTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static (NbdFixture Fixture, RawPeer Peer) Connect(NbdFixture fixture)
    {
        var (ours, theirs) = SocketTransport.CreatePair();
        fixture.Server.Serve(theirs);
        return (fixture, new RawPeer(ours));
    }

    private static async Task<(NbdFixture Fixture, RawPeer Peer)> StartAsync(NbdServerOptions? options = null)
    {
        var fixture = await NbdFixture.StartAsync(options);
        var bitmap = new DirtyBitmap("b0", 1 << 20) { IsRecording = false };
        fixture.Export(
            "vda",
            new MemoryNode("disk", new byte[1 << 20]),
            new NbdExportOptions { Writable = true, Description = "a disk", Bitmaps = [bitmap] });
        return Connect(fixture);
    }

    [Fact]
    public async Task The_greeting_offers_fixed_newstyle_without_zeroes()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            Assert.Equal(RawPeer.Bytes("NBDMAGIC", "IHAVEOPT", (ushort)3), peer.Receive(18));
        }
    }

    [Theory]
    [InlineData(4u)]
    [InlineData(0x80000003u)]
    [InlineData(0xFFFFFFFFu)]
    public async Task Unknown_client_flags_end_the_connection(uint flags)
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            peer.Greet(flags);
            Assert.True(peer.IsClosed);
        }
    }

    [Theory]
    [InlineData(1u, 134)]
    [InlineData(0u, 134)]
    [InlineData(3u, 10)]
    public async Task Export_name_enters_at_once_with_or_without_zeroes(uint flags, int length)
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            peer.Greet(flags);
            peer.Send(RawPeer.Option(NbdOption.ExportName, "vda"));
            var answer = peer.Receive(length);
            Assert.Equal(RawPeer.Bytes((ulong)(1 << 20)), answer[..8]);
            Assert.All(answer[10..], value => Assert.Equal(0, value));
            peer.Send(RawPeer.Request(NbdCommand.Read, 0, 4096, cookie: 77));
            Assert.Equal((NbdError.None, 77UL), peer.SimpleReply());
            peer.Receive(4096);
        }
    }

    [Fact]
    public async Task Export_name_of_an_unknown_export_ends_the_connection()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            peer.Greet();
            peer.Send(RawPeer.Option(NbdOption.ExportName, "vdz"));
            Assert.True(peer.IsClosed);
        }
    }

    [Fact]
    public async Task Without_fixed_newstyle_only_export_name_is_possible()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            peer.Greet(flags: 0);
            peer.Send(RawPeer.Option(NbdOption.List));
            Assert.True(peer.IsClosed);
        }
    }

    public static TheoryData<string, byte[], uint> Refusals => new()
    {
        { "LIST with data", RawPeer.Option(NbdOption.List, "x"), (uint)OptionReplyType.ErrorInvalid },
        { "STARTTLS", RawPeer.Option(NbdOption.StartTls), (uint)OptionReplyType.ErrorUnsupported },
        { "STARTTLS with data", RawPeer.Option(NbdOption.StartTls, "x"), (uint)OptionReplyType.ErrorInvalid },
        { "EXTENDED_HEADERS with data", RawPeer.Option(NbdOption.ExtendedHeaders, "x"),
            (uint)OptionReplyType.ErrorInvalid },
        { "PEEK_EXPORT", RawPeer.Option((NbdOption)4, "vda"), (uint)OptionReplyType.ErrorUnsupported },
        { "unknown", RawPeer.Option((NbdOption)0xABCDEF, new byte[1000]), (uint)OptionReplyType.ErrorUnsupported },
        { "STRUCTURED_REPLY with data", RawPeer.Option(
            NbdOption.StructuredReply, "x"), (uint)OptionReplyType.ErrorInvalid },
        { "GO of nothing", RawPeer.Option(NbdOption.Go), (uint)OptionReplyType.ErrorInvalid },
        { "GO unknown", RawPeer.Option(
            NbdOption.Go, RawPeer.Named("vdz"), (ushort)0), (uint)OptionReplyType.ErrorUnknown },
        { "INFO unknown", RawPeer.Option(
            NbdOption.Info, RawPeer.Named("vdz"), (ushort)0), (uint)OptionReplyType.ErrorUnknown },
        { "GO name too long", RawPeer.Option(NbdOption.Go, 4u, "vda", (ushort)0), (uint)OptionReplyType.ErrorInvalid },
        { "GO name huge", RawPeer.Option(
            NbdOption.Go, 0xFFFFFFFFu, "vda", (ushort)0), (uint)OptionReplyType.ErrorInvalid },
        { "GO infos cut", RawPeer.Option(
            NbdOption.Go, RawPeer.Named("vda"), (ushort)2, (ushort)3), (uint)OptionReplyType.ErrorInvalid },
        { "GO with more", RawPeer.Option(
            NbdOption.Go, RawPeer.Named("vda"), (ushort)0, (ushort)3), (uint)OptionReplyType.ErrorInvalid },
        { "GO with NUL", RawPeer.Option(
            NbdOption.Go, RawPeer.Named("v\0a"), (ushort)0), (uint)OptionReplyType.ErrorInvalid },
        { "GO not UTF-8", RawPeer.Option(
            NbdOption.Go, 2u, new byte[] { 0xC3, 0x28 }, (ushort)0), (uint)OptionReplyType.ErrorInvalid },
        { "GO long name", RawPeer.Option(
            NbdOption.Go, RawPeer.Named(new string('a', 4097)), (ushort)0), (uint)OptionReplyType.ErrorInvalid },
        { "LIST_META before structured", RawPeer.Option(
            NbdOption.ListMetaContext, RawPeer.Named("vda"), 0u), (uint)OptionReplyType.ErrorInvalid },
        { "SET_META before structured", RawPeer.Option(
            NbdOption.SetMetaContext, RawPeer.Named("vda"), 0u), (uint)OptionReplyType.ErrorInvalid },
        { "too long", RawPeer.Option((NbdOption)99, new byte[70000]), (uint)OptionReplyType.ErrorTooBig },
    };

    [Theory]
    [MemberData(nameof(Refusals))]
    public async Task A_misuse_is_refused_with_words_and_the_handshake_goes_on(string what, byte[] option, uint error)
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            peer.Greet();
            peer.Send(option);
            var (type, data) = peer.OptionReply(
                (NbdOption)BitConverter.ToUInt32([option[11], option[10], option[9], option[8]]));
            Assert.True((uint)type == error, $"{what}: {type}");
            Assert.NotEmpty(Encoding.UTF8.GetString(data));
            Assert.Equal(OptionReplyType.Ack, peer.Ask(NbdOption.Go, RawPeer.Named("vda"), (ushort)0));
        }
    }

    [Theory]
    [InlineData(0u, "")]
    [InlineData(1u, "")]
    [InlineData(2u, "base:allocation")]
    [InlineData(0xFFFFFFFFu, "base:allocation")]
    public async Task Meta_context_queries_that_are_cut_off_are_invalid(uint count, string query)
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            peer.Greet().Ask(NbdOption.StructuredReply);
            object[] data = query.Length == 0 && count == 0
                ? [RawPeer.Named("vda"), count, (byte)0]
                : query.Length == 0 ? [RawPeer.Named("vda"), count, 99u]
                    : [RawPeer.Named("vda"), count, RawPeer.Named(query)];
            Assert.Equal(OptionReplyType.ErrorInvalid, peer.Ask(NbdOption.ListMetaContext, data));
            Assert.Equal(OptionReplyType.ErrorInvalid, peer.Ask(NbdOption.SetMetaContext, data));
        }
    }

    [Theory]
    [InlineData(new string[0], new[] { "base:allocation", "qemu:dirty-bitmap:b0" }, new string[0])]
    [InlineData(new[] { "base:" }, new[] { "base:allocation" }, new string[0])]
    [InlineData(new[] { "qemu:" }, new[] { "qemu:dirty-bitmap:b0" }, new string[0])]
    [InlineData(new[] { "qemu:dirty-bitmap:" }, new[] { "qemu:dirty-bitmap:b0" }, new string[0])]
    [InlineData(new[] { "qemu:dirty-bitmap:b" }, new string[0], new string[0])]
    [InlineData(new[] { "qemu:dirty-bitmap:b0", "base:allocation" },
        new[] { "base:allocation", "qemu:dirty-bitmap:b0" }, new[] { "base:allocation", "qemu:dirty-bitmap:b0" })]
    [InlineData(new[] { "base:allocation", "base:allocation" }, new[] { "base:allocation" },
        new[] { "base:allocation" })]
    [InlineData(new[] { "unknown:x", "no colon", "base:other" }, new string[0], new string[0])]
    public async Task Queries_find_contexts_and_wildcards_work_only_in_lists(
        string[] queries, string[] listed, string[] set)
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            peer.Greet().Ask(NbdOption.StructuredReply);
            Assert.Equal(listed, Query(peer, NbdOption.ListMetaContext, queries).Select(context => context.Name));
            var selected = Query(peer, NbdOption.SetMetaContext, queries);
            Assert.Equal(set, selected.Select(context => context.Name));
            Assert.Equal(selected.Count, selected.Select(context => context.Id).Distinct().Count());
        }
    }

    private static List<(uint Id, string Name)> Query(RawPeer peer, NbdOption option, string[] queries)
    {
        peer.Send(RawPeer.Option(
            option, RawPeer.Named("vda"), (uint)queries.Length, RawPeer.Bytes([.. queries.Select(RawPeer.Named)])));
        List<(uint, string)> found = [];
        while (true)
        {
            var (type, data) = peer.OptionReply(option);
            if (type == OptionReplyType.Ack)
            {
                return found;
            }

            Assert.Equal(OptionReplyType.MetaContext, type);
            found.Add((BitConverter.ToUInt32(
                [data[3], data[2], data[1], data[0]]), Encoding.UTF8.GetString(data[4..])));
        }
    }

    [Fact]
    public async Task Contexts_set_for_another_export_are_not_used()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        fixture.Export("vdb", new MemoryNode("other", new byte[4096]));
        using (peer)
        {
            peer.Greet().Ask(NbdOption.StructuredReply);
            Assert.Single(Query(peer, NbdOption.SetMetaContext, ["base:allocation"]));
            Assert.Equal(OptionReplyType.Ack, peer.Ask(NbdOption.Go, RawPeer.Named("vdb"), (ushort)0));
            peer.Send(RawPeer.Request(NbdCommand.BlockStatus, 0, 4096));
            Assert.Equal(NbdError.EINVAL, peer.ErrorChunk());
        }
    }

    [Fact]
    public async Task A_failing_set_forgets_what_was_set_before()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            peer.Greet().Ask(NbdOption.StructuredReply);
            Assert.Single(Query(peer, NbdOption.SetMetaContext, ["base:allocation"]));
            Assert.Equal(OptionReplyType.ErrorUnknown, peer.Ask(NbdOption.SetMetaContext, RawPeer.Named("vdz"), 0u));
            Assert.Equal(OptionReplyType.Ack, peer.Ask(NbdOption.Go, RawPeer.Named("vda"), (ushort)0));
            peer.Send(RawPeer.Request(NbdCommand.BlockStatus, 0, 4096));
            Assert.Equal(NbdError.EINVAL, peer.ErrorChunk());
        }
    }

    [Fact]
    public async Task Info_says_what_go_says_and_stays_in_the_handshake()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            peer.Greet();
            var info = Infos(peer, NbdOption.Info);
            Assert.Equal(info, Infos(peer, NbdOption.Go));
            Assert.Equal(
                [
                    RawPeer.Bytes((ushort)1, "vda"),
                    RawPeer.Bytes((ushort)2, "a disk"),
                    RawPeer.Bytes((ushort)3, 1u, 4096u, 32u << 20),
                    RawPeer.Bytes((ushort)0, (ulong)(1 << 20), (ushort)0b1101_0110_1101),
                ],
                info);
        }

        static List<byte[]> Infos(RawPeer peer, NbdOption option)
        {
            peer.Send(RawPeer.Option(
                option, RawPeer.Named("vda"), (ushort)4, (ushort)1, (ushort)2, (ushort)3, (ushort)0xFFFF));
            List<byte[]> infos = [];
            while (peer.OptionReply(option) is { Type: OptionReplyType.Info } reply)
            {
                infos.Add(reply.Data);
            }

            return infos;
        }
    }

    [Fact]
    public async Task A_disk_that_needs_aligned_requests_is_given_only_to_those_who_ask_for_block_sizes()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        fixture.Export("vdb", new AlignedNode("aligned", 1 << 20));
        using (peer)
        {
            peer.Greet();
            Assert.Equal(
                OptionReplyType.ErrorBlockSizeRequired, peer.Ask(NbdOption.Go, RawPeer.Named("vdb"), (ushort)0));
            Assert.Equal(OptionReplyType.Ack, peer.Ask(NbdOption.Go, RawPeer.Named("vdb"), (ushort)1, (ushort)3));
            peer.Send(RawPeer.Request(NbdCommand.Read, 1, 512));
            Assert.Equal((NbdError.EINVAL, 1UL), peer.SimpleReply());
        }

        var (_, old) = Connect(fixture);
        using (old)
        {
            old.Greet();
            old.Send(RawPeer.Option(NbdOption.ExportName, "vdb"));
            Assert.True(old.IsClosed);
        }
    }

    [Fact]
    public async Task Abort_is_acknowledged_and_ends_the_connection()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            peer.Greet();
            Assert.Equal(OptionReplyType.Ack, peer.Ask(NbdOption.Abort, "whatever"));
            Assert.True(peer.IsClosed);
        }
    }

    [Theory]
    [InlineData("magic")]
    [InlineData("length")]
    [InlineData("export name")]
    public async Task What_cannot_be_answered_ends_the_connection(string what)
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            peer.Greet();
            peer.Send(what switch
            {
                "magic" => RawPeer.Bytes("IHAVEOPX", 3u, 0u),
                "length" => RawPeer.Bytes(NbdMagic.Option, 3u, uint.MaxValue),
                _ => RawPeer.Bytes(NbdMagic.Option, 1u, 100_000u),
            });
            Assert.True(peer.IsClosed);
        }
    }

    [Fact]
    public async Task Options_without_end_end_the_connection()
    {
        var (fixture, peer) = await StartAsync();
        await using var _ = fixture;
        using (peer)
        {
            peer.Greet();
            var answered = 0;
            Assert.ThrowsAny<IOException>(() =>
            {
                for (; answered < 10_000; answered++)
                {
                    peer.Ask((NbdOption)12345);
                }
            });
            Assert.Equal(NbdLimits.MaximumOptions, answered);
        }
    }

    [Fact]
    public async Task A_client_that_trickles_is_cut_off_at_the_deadline()
    {
        var (fixture, peer) = await StartAsync(
            new NbdServerOptions { HandshakeTimeout = TimeSpan.FromMilliseconds(200) });
        await using var _ = fixture;
        using (peer)
        {
            peer.Greet();
            Assert.ThrowsAny<IOException>(() =>
            {
                for (var count = 0; count < 1000; count++)
                {
                    peer.Send((byte)'I');
                    Cancellation.WaitHandle.WaitOne(TimeSpan.FromMilliseconds(20));
                    if (peer.Transport.HasWaitingBytes)
                    {
                        break;
                    }
                }
            });
        }
    }

    /// <summary>A disk that only takes multiples of 512 bytes.</summary>
    private sealed class AlignedNode(string name, long length) : BlockNode(name)
    {
        public override string Driver => "aligned";

        public override long Length => length;

        public override BlockLimits Limits { get; } = new() { RequestAlignment = 512 };

        public override ValueTask DisposeAsync() => default;

        protected override ValueTask ReadCoreAsync(
            long offset, Memory<byte> target, CancellationToken cancellationToken)
        {
            target.Span.Clear();
            return default;
        }
    }
}
