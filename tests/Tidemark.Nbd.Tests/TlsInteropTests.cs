using System.Text.Json.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Nbd.Tls;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>TLS with the peers' programs, both ways, with certificates made here.</summary>
[Trait("Category", "Interop")]
public sealed class TlsInteropTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static async Task ReadAsync(NbdEndPoint endPoint, string export, string folder)
    {
        await using var client = await NbdClient.ConnectAsync(
            endPoint, new NbdClientOptions { ExportName = export, Tls = NbdClientTls.Load(folder) }, Cancellation);
        var target = new byte[200_000];
        await client.ReadAsync(4096, target, Cancellation);
        await client.WriteAsync(4096, target, cancellationToken: Cancellation);
        await client.FlushAsync(Cancellation);
    }

    [Fact]
    public async Task Qemu_nbd_serves_us_over_tls()
    {
        Assert.SkipWhen(Tool.Missing("qemu-nbd") is not null, Tool.Missing("qemu-nbd") ?? "");
        using var directory = new TemporaryDirectory();
        var certificates = new TestCertificates(directory);
        var socket = directory.File("s");
        File.WriteAllBytes(directory.File("disk"), new byte[1 << 20]);
        using var peer = await PeerServer.StartAsync(
            socket, "qemu-nbd", "-t", "-k", socket, "-f", "raw", "-x", "d",
            "--object", $"tls-creds-x509,id=t,endpoint=server,dir={certificates.Folder},verify-peer=yes",
            "--tls-creds", "t", directory.File("disk"));
        await ReadAsync(peer.EndPoint, "d", certificates.Folder);
        await Assert.ThrowsAsync<NbdException>(() => NbdClient.ConnectAsync(
            peer.EndPoint, new NbdClientOptions { ExportName = "d" }, Cancellation));
        await Assert.ThrowsAsync<NbdException>(
            () => ReadAsync(peer.EndPoint, "d", certificates.WithoutClient(directory)));
    }

    [Fact]
    public async Task Nbdkit_serves_us_over_tls()
    {
        Assert.SkipWhen(Tool.Missing("nbdkit") is not null, Tool.Missing("nbdkit") ?? "");
        using var directory = new TemporaryDirectory();
        var certificates = new TestCertificates(directory);
        var socket = directory.File("s");
        using var peer = await PeerServer.StartAsync(
            socket, "nbdkit", "-f", "-U", socket, "--tls=require", $"--tls-certificates={certificates.Folder}",
            "--tls-verify-peer", "memory", "1M");
        await ReadAsync(peer.EndPoint, "", certificates.Folder);
    }

    [Fact]
    public async Task Nbdkits_tls_fallback_filter_shows_its_message_to_the_unencrypted_alone()
    {
        Assert.SkipWhen(Tool.Missing("nbdkit") is not null, Tool.Missing("nbdkit") ?? "");
        using var directory = new TemporaryDirectory();
        var certificates = new TestCertificates(directory);
        var socket = directory.File("s");
        using var peer = await PeerServer.StartAsync(
            socket, "nbdkit", "-f", "-U", socket, "--tls=on", $"--tls-certificates={certificates.Folder}",
            "--filter=tls-fallback", "memory", "1M", "tlsreadme=TLS please");
        await using (var plain = await NbdClient.ConnectAsync(peer.EndPoint, cancellationToken: Cancellation))
        {
            Assert.True(plain.IsReadOnly);
            Assert.Equal(512, plain.Length);
        }

        await ReadAsync(peer.EndPoint, "", certificates.Folder);
    }

    [Fact]
    public async Task Nbdinfo_and_qemu_img_read_our_server_over_tls()
    {
        Assert.SkipWhen(Tool.Missing("nbdinfo", "qemu-img") is not null, Tool.Missing("nbdinfo", "qemu-img") ?? "");
        using var directory = new TemporaryDirectory();
        var certificates = new TestCertificates(directory);
        await using var server = new NbdServer(new NbdServerOptions
        {
            Tls = NbdServerTls.Load(certificates.Folder, NbdTlsMode.Require, verifyClients: true),
        });
        var graph = new Blocks.Graph.BlockGraph();
        var disk = new MemoryNode("disk", new byte[1 << 20]);
        graph.Add(disk);
        server.AddExport(new NbdExport("vda", graph.CreateBackend(disk, "export")));
        var endPoint = await server.ListenAsync(NbdEndPoint.ForTcp("127.0.0.1", 0), Cancellation);
        var info = JsonNode.Parse(await Tool.RunOkAsync(
            "nbdinfo", "--json", $"nbds://localhost:{endPoint.Port}/vda?tls-certificates={certificates.Folder}"))!;
        Assert.True((bool)info["TLS"]!);
        Assert.Equal(1 << 20, (long)info["exports"]![0]!["export-size"]!);
        var output = await Tool.RunOkAsync(
            "qemu-img", "info",
            "--object", $"tls-creds-x509,id=t,endpoint=client,dir={certificates.Folder}",
            "--image-opts", "driver=nbd,server.type=inet,server.host=localhost,"
                + $"server.port={endPoint.Port},export=vda,tls-creds=t");
        Assert.Contains("1 MiB", output, StringComparison.Ordinal);
        var refused = await Tool.RunAsync("nbdinfo", [$"nbd://localhost:{endPoint.Port}/vda"]);
        Assert.NotEqual(0, refused.ExitCode);
    }
}
