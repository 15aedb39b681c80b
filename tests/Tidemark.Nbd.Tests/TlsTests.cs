using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Nbd.Tls;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>TLS, both roles: who is let in, and what an attacker on the line cannot do.</summary>
public sealed class TlsTests
{
    private const int Size = TlsTraffic.Size;

    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(20);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static async Task<(NbdFixture Fixture, TestCertificates Certificates, byte[] Content)> StartAsync(
        NbdTlsMode mode, bool verifyClients = false, string server = "localhost")
    {
        var directory = new TemporaryDirectory();
        var certificates = new TestCertificates(directory, server: server);
        var (fixture, content) = await TlsTraffic.StartAsync(new NbdServerOptions
        {
            Tls = NbdServerTls.Load(certificates.Folder, mode, verifyClients),
            HandshakeTimeout = s_limit,
        });
        fixture.Own(directory);
        return (fixture, certificates, content);
    }

    private static RawPeer Raw(NbdFixture fixture)
    {
        var (ours, theirs) = SocketTransport.CreatePair();
        fixture.Server.Serve(theirs);
        return new RawPeer(ours).Greet();
    }

    [Theory]
    [InlineData(NbdTlsMode.Require)]
    [InlineData(NbdTlsMode.Allow)]
    public async Task A_client_reads_and_writes_over_tls(NbdTlsMode mode)
    {
        var (fixture, certificates, content) = await StartAsync(mode, verifyClients: true);
        await using var _ = fixture;
        await TlsTraffic.CheckAsync(fixture, NbdClientTls.Load(certificates.Folder), content);
    }

    [Fact]
    public async Task A_uri_with_certificates_connects()
    {
        var (fixture, certificates, _) = await StartAsync(NbdTlsMode.Require);
        await using var __ = fixture;
        var uri = NbdUri.Parse(
            $"nbds+unix:///vda?socket={fixture.SocketPath}&tls-certificates={certificates.Folder}");
        await using var client = await NbdClient.ConnectAsync(uri, cancellationToken: Cancellation);
        Assert.Equal(Size, client.Length);
        var other = uri with { TlsHostName = "elsewhere.example" };
        var error = await Assert.ThrowsAsync<NbdException>(
            () => NbdClient.ConnectAsync(other, cancellationToken: Cancellation));
        Assert.Contains("elsewhere.example", error.Message, StringComparison.Ordinal);
        await using var careless = await NbdClient.ConnectAsync(
            other with { TlsVerifyPeer = false }, cancellationToken: Cancellation);
    }

    [Fact]
    public async Task A_server_of_another_authority_is_not_trusted()
    {
        var (fixture, _, _) = await StartAsync(NbdTlsMode.Require);
        await using var __ = fixture;
        var other = new TestCertificates(fixture.Directory, "other");
        await Assert.ThrowsAsync<NbdException>(() => NbdClient.ConnectAsync(
            fixture.EndPoint, TlsTraffic.Options(NbdClientTls.Load(other.Folder)), Cancellation));
        await Assert.ThrowsAsync<NbdException>(() => NbdClient.ConnectAsync(
            fixture.EndPoint, TlsTraffic.Options(NbdClientTls.Load(null)), Cancellation));
    }

    [Fact]
    public async Task A_client_without_a_good_certificate_is_refused_when_clients_are_verified()
    {
        var (fixture, certificates, _) = await StartAsync(NbdTlsMode.Require, verifyClients: true);
        await using var __ = fixture;
        var without = certificates.WithoutClient(fixture.Directory);
        await Assert.ThrowsAsync<NbdException>(() => NbdClient.ConnectAsync(
            fixture.EndPoint, TlsTraffic.Options(NbdClientTls.Load(without)), Cancellation));
        var other = new TestCertificates(fixture.Directory, "other");
        await Assert.ThrowsAsync<NbdException>(() => NbdClient.ConnectAsync(
            fixture.EndPoint, TlsTraffic.Options(NbdClientTls.Load(other.Folder, verifyServer: false)), Cancellation));
        await using var client = await NbdClient.ConnectAsync(
            fixture.EndPoint, TlsTraffic.Options(NbdClientTls.Load(certificates.Folder)), Cancellation);
    }

    [Fact]
    public async Task A_server_that_requires_tls_answers_nothing_else()
    {
        var (fixture, _, _) = await StartAsync(NbdTlsMode.Require);
        await using var __ = fixture;
        using var peer = Raw(fixture);
        foreach (var option in new[]
        {
            NbdOption.List, NbdOption.Info, NbdOption.Go, NbdOption.StructuredReply, NbdOption.ExtendedHeaders,
            NbdOption.SetMetaContext, NbdOption.ListMetaContext, (NbdOption)4, (NbdOption)99,
        })
        {
            Assert.Equal(OptionReplyType.ErrorTlsRequired, peer.Ask(option, "some data"));
        }

        Assert.Equal(OptionReplyType.ErrorTlsRequired, peer.Ask((NbdOption)99, new byte[100_000]));
        Assert.Equal(OptionReplyType.Ack, peer.Ask(NbdOption.Abort));
        using var old = Raw(fixture);
        old.Send(RawPeer.Option(NbdOption.ExportName, "vda"));
        Assert.True(old.IsClosed);
        var error = await Assert.ThrowsAsync<NbdException>(() => NbdClient.ConnectAsync(
            fixture.EndPoint, TlsTraffic.Options(null), Cancellation));
        Assert.Equal(BlockErrorKind.NotSupported, error.Kind);
    }

    [Theory]
    [InlineData(NbdTlsMode.Allow)]
    [InlineData(NbdTlsMode.Disable)]
    public async Task A_server_that_does_not_require_tls_serves_without(NbdTlsMode mode)
    {
        var (fixture, certificates, _) = await StartAsync(mode);
        await using var __ = fixture;
        await using var plain = await NbdClient.ConnectAsync(fixture.EndPoint, TlsTraffic.Options(null), Cancellation);
        await using var willing = await NbdClient.ConnectAsync(
            fixture.EndPoint,
            TlsTraffic.Options(NbdClientTls.Load(certificates.Folder, NbdTlsMode.Allow)),
            Cancellation);
        var insisting = NbdClient.ConnectAsync(
            fixture.EndPoint, TlsTraffic.Options(NbdClientTls.Load(certificates.Folder)), Cancellation);
        if (mode == NbdTlsMode.Allow)
        {
            await (await insisting).DisposeAsync();
            return;
        }

        var error = await Assert.ThrowsAsync<NbdException>(() => insisting);
        Assert.Equal(BlockErrorKind.NotSupported, error.Kind);
    }

    // An attacker on the line writes before the handshake what will be taken for the client's words after it.
    [Fact]
    public async Task Options_that_follow_starttls_unencrypted_end_the_connection()
    {
        var (fixture, _, _) = await StartAsync(NbdTlsMode.Allow);
        await using var __ = fixture;
        using var peer = Raw(fixture);
        peer.Send(RawPeer.Bytes(
            RawPeer.Option(NbdOption.StartTls), RawPeer.Option(NbdOption.StructuredReply)));
        Assert.True(peer.IsClosed);
    }

    [Fact]
    public async Task Replies_that_follow_the_agreement_unencrypted_end_the_connection()
    {
        using var directory = new TemporaryDirectory();
        var certificates = new TestCertificates(directory);
        var (ours, theirs) = SocketTransport.CreatePair();
        using var peer = new RawPeer(theirs);
        var agreement = RawPeer.Bytes(
            NbdMagic.OptionReply, (uint)NbdOption.StartTls, (uint)OptionReplyType.Ack, 0u);
        var injected = RawPeer.Bytes(
            NbdMagic.OptionReply, (uint)NbdOption.ExtendedHeaders, (uint)OptionReplyType.ErrorUnsupported, 0u);
        peer.Send("NBDMAGIC", "IHAVEOPT", (ushort)3, agreement, injected);
        var error = await Assert.ThrowsAsync<NbdException>(() => NbdClient.ConnectAsync(
            ours, TlsTraffic.Options(NbdClientTls.Load(certificates.Folder))).WaitAsync(s_limit, Cancellation));
        Assert.Contains("tampering", error.Message, StringComparison.Ordinal);
        peer.Receive(4 + 16);
        Assert.True(peer.IsClosed);
    }

    [Fact]
    public async Task What_was_negotiated_before_tls_is_forgotten()
    {
        var (fixture, certificates, _) = await StartAsync(NbdTlsMode.Allow);
        await using var __ = fixture;
        using var plain = Raw(fixture);
        Assert.Equal(OptionReplyType.Ack, plain.Ask(NbdOption.ExtendedHeaders));
        Assert.Equal(OptionReplyType.Ack, plain.Ask(
            NbdOption.SetMetaContext, RawPeer.Named("vda"), 1u, RawPeer.Named("base:allocation")));
        Assert.Equal(OptionReplyType.Ack, plain.Ask(NbdOption.StartTls));
        using var peer = new RawPeer(
            TlsTransport.Connect(plain.Transport, NbdClientTls.Load(certificates.Folder), "localhost"));
        Assert.Equal(OptionReplyType.ErrorInvalid, peer.Ask(NbdOption.StartTls));
        Assert.Equal(OptionReplyType.ErrorInvalid, peer.Ask(
            NbdOption.SetMetaContext, RawPeer.Named("vda"), 1u, RawPeer.Named("base:allocation")));
        Assert.Equal(OptionReplyType.Ack, peer.Ask(NbdOption.Go, RawPeer.Named("vda"), (ushort)0));

        // Simple replies: neither structured replies nor extended headers are left.
        peer.Send(RawPeer.Request(NbdCommand.Flush, 0, 0, 5));
        Assert.Equal((NbdError.None, 5UL), peer.SimpleReply());
        peer.Send(RawPeer.Request(NbdCommand.BlockStatus, 0, 512, 6));
        Assert.Equal((NbdError.EINVAL, 6UL), peer.SimpleReply());
        peer.Send(RawPeer.Request(NbdCommand.Disconnect, 0, 0));
        Assert.True(peer.IsClosed);
    }

    [Fact]
    public async Task A_client_that_agrees_and_then_says_nothing_or_nonsense_costs_the_server_nothing()
    {
        using var directory = new TemporaryDirectory();
        var certificates = new TestCertificates(directory);
        await using var fixture = await NbdFixture.StartAsync(new NbdServerOptions
        {
            Tls = NbdServerTls.Load(certificates.Folder),
            HandshakeTimeout = TimeSpan.FromMilliseconds(500),
        });
        using var silent = Raw(fixture);
        Assert.Equal(OptionReplyType.Ack, silent.Ask(NbdOption.StartTls));
        using var talking = Raw(fixture);
        Assert.Equal(OptionReplyType.Ack, talking.Ask(NbdOption.StartTls));
        talking.Send(RawPeer.Option(NbdOption.List));
        while (!talking.IsClosed)
        {
        }

        Assert.True(silent.IsClosed);
        while (fixture.Server.ConnectionCount > 0)
        {
            await Task.Delay(5, Cancellation);
        }
    }

    [Fact]
    public void A_folder_without_what_is_needed_is_refused_by_name()
    {
        using var directory = new TemporaryDirectory();
        var certificates = new TestCertificates(directory);
        Assert.Contains(
            "server-cert.pem",
            Assert.Throws<NbdException>(() => NbdServerTls.Load(directory.File("none"))).Message,
            StringComparison.Ordinal);
        File.Delete(Path.Combine(certificates.Folder, "ca-cert.pem"));
        Assert.Throws<NbdException>(() => NbdServerTls.Load(certificates.Folder, verifyClients: true));
        File.WriteAllText(Path.Combine(certificates.Folder, "ca-cert.pem"), "-----BEGIN CERTIFICATE-----\nx\n");
        File.Delete(Path.Combine(certificates.Folder, "client-key.pem"));
        Assert.Contains(
            "client-key.pem",
            Assert.Throws<NbdException>(() => NbdClientTls.Load(certificates.Folder)).Message,
            StringComparison.Ordinal);
    }
}
