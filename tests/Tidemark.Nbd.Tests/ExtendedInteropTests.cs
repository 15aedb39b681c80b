using System.Text.Json.Nodes;
using Tidemark.Blocks.Files;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>QEMU's extended headers (8.2 and later), both ways, and what an older one makes of us.</summary>
[Trait("Category", "Interop")]
public sealed class ExtendedInteropTests
{
    // More than 32 bits hold, so that one extent needs 64.
    private const long Length = 6L << 30;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("7.2", false)]
    [InlineData("10.0", true)]
    [InlineData("11.1", true)]
    public async Task Qemu_nbd_serves_us_with_extended_headers(string version, bool extended)
    {
        var qemu = QemuVersions.Need(version);
        using var directory = new TemporaryDirectory();
        var disk = directory.File("disk");
        using (var file = File.OpenWrite(disk))
        {
            file.SetLength(Length);
            file.Position = 5L << 30;
            file.Write(new byte[65536].AsSpan());
        }

        var socket = directory.File("s");
        using var peer = await PeerServer.StartAsync(
            socket, qemu.Program("qemu-nbd"), "-t", "-k", socket, "-f", "raw", "-A", disk);
        await using var client = await NbdClient.ConnectAsync(
            peer.EndPoint, new NbdClientOptions { MetaContexts = ["base:", "qemu:"] }, Cancellation);
        Assert.Equal(extended, client.HasExtendedHeaders);
        Assert.Equal(["base:allocation", "qemu:allocation-depth"], client.MetaContexts.Order());
        var extents = new List<NbdExtent>();
        await client.GetMetaContextAsync("base:allocation", 0, Length, extents, Cancellation);
        Assert.Equal(
            [new(0, 5L << 30, 3), new(5L << 30, 65536, 0),
                new((5L << 30) + 65536, Length - (5L << 30) - 65536, 3)],
            extents);
        extents.Clear();
        await client.GetMetaContextAsync("qemu:allocation-depth", 0, Length, extents, Cancellation);
        Assert.Equal([new(0, Length, 1)], extents);
        await client.WriteZeroesAsync(0, Length, Blocks.Nodes.WriteFlags.MayUnmap, Cancellation);
        await client.WriteAsync(1L << 32, new byte[65536], true, Cancellation);
        await client.ReadAsync(1L << 32, new byte[65536], Cancellation);
        await client.TrimAsync(0, Length, Cancellation);
        await client.FlushAsync(Cancellation);
    }

    [Theory]
    [InlineData("5.2")]
    [InlineData("7.2")]
    [InlineData("10.0")]
    [InlineData("11.1")]
    public async Task Qemu_img_reads_our_server_with_extended_headers(string version)
    {
        var qemu = QemuVersions.Need(version);
        await using var fixture = await NbdFixture.StartAsync();
        var disk = RawFileNode.Create("disk", fixture.Directory.File("disk"), Length);
        var bytes = new byte[65536];
        Random.Shared.NextBytes(bytes);
        await disk.WriteAsync(5L << 30, bytes, cancellationToken: Cancellation);
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true, AllocationDepth = true });
        var map = JsonNode.Parse(await Tool.RunOkAsync(
            qemu.Program("qemu-img"), "map", "--output=json", "-f", "raw", fixture.Uri("vda")))!;
        Assert.Equal(
            [(0L, 5L << 30), (5L << 30, 65536L), ((5L << 30) + 65536, Length - (5L << 30) - 65536)],
            map.AsArray().Select(extent => ((long)extent!["start"]!, (long)extent["length"]!)));
        var output = await Tool.RunOkAsync(
            qemu.Program("qemu-io"), "-f", "raw", "-c", "write -z -u 0 1G", "-c", "write -z -u 1G 1G",
            "-c", "write -P 7 4G 1M", "-c", "flush",
            "-c", "read -P 7 4G 1M", "-c", "read -P 0 1G 1M", "-c", "discard 4G 1G", fixture.Uri("vda"));
        Assert.DoesNotContain("failed", output, StringComparison.OrdinalIgnoreCase);
    }
}
