using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Nbd.Tls;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>TLS with shared keys: our client and server with each other, and with the peers' programs.</summary>
public sealed class PskTests : IDisposable
{
    private const string Key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    private const int Size = TlsTraffic.Size;

    private readonly TemporaryDirectory _directory = new();
    private readonly string _keys;

    public PskTests() => _keys = Write("keys.psk", $"# a comment\n\nbob:{new string('5', 32)}\nalice:{Key}\n");

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => _directory.Dispose();

    private string Write(string name, string text)
    {
        File.WriteAllText(_directory.File(name), text);
        return _directory.File(name);
    }

    private Task<(NbdFixture Fixture, byte[] Content)> StartAsync(NbdTlsMode mode = NbdTlsMode.Require) =>
        TlsTraffic.StartAsync(new NbdServerOptions { Tls = NbdServerTls.LoadKeys(_keys, mode) });

    [Theory]
    [InlineData(NbdTlsMode.Require)]
    [InlineData(NbdTlsMode.Allow)]
    public async Task A_client_with_a_key_reads_and_writes(NbdTlsMode mode)
    {
        var (fixture, content) = await StartAsync(mode);
        await using var _ = fixture;
        await TlsTraffic.CheckAsync(fixture, NbdClientTls.LoadKey(_keys, "alice"), content);

        var uri = NbdUri.Parse($"nbds+unix://bob@/vda?socket={fixture.SocketPath}&tls-psk-file={_keys}");
        await using var other = await NbdClient.ConnectAsync(uri, cancellationToken: Cancellation);
        await other.ReadAsync(0, new byte[512], Cancellation);
    }

    [Fact]
    public async Task Who_has_another_key_or_none_is_not_let_in_and_costs_nothing()
    {
        var (fixture, _) = await StartAsync();
        await using var __ = fixture;
        var wrong = Write("wrong.psk", $"alice:{new string('7', 64)}\nmallory:{Key}\n");
        var certificates = new TestCertificates(_directory);
        foreach (var tls in new[]
        {
            NbdClientTls.LoadKey(wrong, "alice"), NbdClientTls.LoadKey(wrong, "mallory"),
            NbdClientTls.Load(certificates.Folder), null,
        })
        {
            await Assert.ThrowsAsync<NbdException>(
                () => NbdClient.ConnectAsync(fixture.EndPoint, TlsTraffic.Options(tls), Cancellation));
        }

        while (fixture.Server.ConnectionCount > 0)
        {
            await Task.Delay(5, Cancellation);
        }

        await using var client = await NbdClient.ConnectAsync(
            fixture.EndPoint, TlsTraffic.Options(NbdClientTls.LoadKey(_keys, "alice")), Cancellation);
    }

    [Fact]
    public async Task A_server_with_certificates_is_no_server_for_a_key()
    {
        var certificates = new TestCertificates(_directory);
        await using var fixture = await NbdFixture.StartAsync(
            new NbdServerOptions { Tls = NbdServerTls.Load(certificates.Folder) });
        fixture.Export("vda", new MemoryNode("disk", new byte[4096]));
        var error = await Assert.ThrowsAsync<NbdException>(() => NbdClient.ConnectAsync(
            fixture.EndPoint, TlsTraffic.Options(NbdClientTls.LoadKey(_keys, "alice")), Cancellation));
        Assert.Contains("same key", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("# nothing\n")]
    [InlineData("alice\n")]
    [InlineData(":0123456789abcdef0123456789abcdef\n")]
    [InlineData("alice:0123\n")]
    [InlineData("alice:0123456789abcdef0123456789abcdeg\n")]
    [InlineData("alice:0123456789abcdef0123456789abcdef0\n")]
    [InlineData("a:0123456789abcdef0123456789abcdef\na:0123456789abcdef0123456789abcdef\n")]
    public void A_file_that_is_none_of_keys_is_refused_without_telling_what_it_holds(string text)
    {
        var file = Write("bad.psk", text);
        var error = Assert.Throws<NbdException>(() => NbdServerTls.LoadKeys(file));
        Assert.Contains(file, error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("0123456789", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_or_a_user_that_is_not_there_is_named()
    {
        var error = Assert.Throws<NbdException>(() => NbdServerTls.LoadKeys(_directory.File("nothing")));
        Assert.Contains("nothing", error.Message, StringComparison.Ordinal);
        error = Assert.Throws<NbdException>(() => NbdClientTls.LoadKey(_keys, "carol"));
        Assert.Contains("'carol'", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task Nbdkit_and_qemu_nbd_serve_us_with_a_key()
    {
        Assert.SkipWhen(Tool.Missing("nbdkit", "qemu-nbd") is not null, Tool.Missing("nbdkit", "qemu-nbd") ?? "");
        var socket = _directory.File("kit");
        using (var peer = await PeerServer.StartAsync(
            socket, "nbdkit", "-f", "-U", socket, "--tls=require", $"--tls-psk={_keys}", "memory", "1M"))
        {
            await UseAsync(peer.EndPoint, "");
        }

        File.WriteAllBytes(_directory.File("disk"), new byte[Size]);
        socket = _directory.File("qemu");
        using var qemu = await PeerServer.StartAsync(
            socket, "qemu-nbd", "-t", "-k", socket, "-f", "raw", "-x", "d",
            "--object", $"tls-creds-psk,id=t,endpoint=server,dir={_directory.File("")}",
            "--tls-creds", "t", _directory.File("disk"));
        await UseAsync(qemu.EndPoint, "d");
    }

    private async Task UseAsync(NbdEndPoint endPoint, string export)
    {
        await using var client = await NbdClient.ConnectAsync(
            endPoint,
            new NbdClientOptions { ExportName = export, Tls = NbdClientTls.LoadKey(_keys, "alice") },
            Cancellation);
        var bytes = new byte[200_000];
        Random.Shared.NextBytes(bytes);
        await client.WriteAsync(4096, bytes, cancellationToken: Cancellation);
        var back = new byte[bytes.Length];
        await client.ReadAsync(4096, back, Cancellation);
        Assert.Equal(bytes, back);
        await client.FlushAsync(Cancellation);
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task Nbdinfo_nbdcopy_and_qemu_img_read_our_server_with_a_key()
    {
        var missing = Tool.Missing("nbdinfo", "nbdcopy", "qemu-img");
        Assert.SkipWhen(missing is not null, missing ?? "");
        var (fixture, content) = await StartAsync();
        await using var _ = fixture;
        var uri = $"nbds+unix://alice@/vda?socket={fixture.SocketPath}&tls-psk-file={_keys}";
        Assert.Equal($"{Size}", (await Tool.RunOkAsync("nbdinfo", "--size", uri)).Trim());
        await Tool.RunOkAsync("nbdcopy", uri, _directory.File("copy"));
        Assert.Equal(content, await File.ReadAllBytesAsync(_directory.File("copy"), Cancellation));
        var output = await Tool.RunOkAsync(
            "qemu-img", "info",
            "--object", $"tls-creds-psk,id=t,endpoint=client,username=alice,dir={_directory.File("")}",
            "--image-opts", $"driver=nbd,server.type=unix,server.path={fixture.SocketPath},export=vda,tls-creds=t");
        Assert.Contains("1 MiB", output, StringComparison.Ordinal);
        var unknown = uri.Replace("alice", "carol", StringComparison.Ordinal);
        Assert.NotEqual(0, (await Tool.RunAsync("nbdinfo", ["--size", unknown])).ExitCode);
    }
}
