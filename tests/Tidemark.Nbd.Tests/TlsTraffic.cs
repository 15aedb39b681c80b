using Tidemark.Nbd.Client;
using Tidemark.Nbd.Server;
using Tidemark.Nbd.Tls;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>A disk behind TLS of either kind, and what a client does there whatever the kind.</summary>
internal static class TlsTraffic
{
    internal const int Size = 1 << 20;

    internal static NbdClientOptions Options(NbdClientTls? tls) =>
        new() { ExportName = "vda", MetaContexts = ["base:allocation"], Tls = tls };

    /// <summary>Starts a server with a writable disk of random bytes.</summary>
    internal static async Task<(NbdFixture Fixture, byte[] Content)> StartAsync(NbdServerOptions options)
    {
        var fixture = await NbdFixture.StartAsync(options);
        var content = new byte[Size];
        Random.Shared.NextBytes(content);
        fixture.Export("vda", new MemoryNode("disk", content), new NbdExportOptions { Writable = true });
        return (fixture, content);
    }

    /// <summary>Reads all, then writes and reads back, many at once.</summary>
    internal static async Task CheckAsync(NbdFixture fixture, NbdClientTls tls, byte[] content)
    {
        var cancellation = NbdFixture.Cancellation;
        await using var client = await NbdClient.ConnectAsync(fixture.EndPoint, Options(tls), cancellation);
        var target = new byte[Size];
        await client.ReadAsync(0, target, cancellation);
        Assert.Equal(content, target);
        await Task.WhenAll(Enumerable.Range(0, 32).Select(async index =>
        {
            var bytes = Enumerable.Repeat((byte)index, 20_000).ToArray();
            await client.WriteAsync(index * 20_480, bytes, cancellationToken: cancellation);
            var back = new byte[20_000];
            await client.ReadAsync(index * 20_480, back, cancellation);
            Assert.Equal(bytes, back);
        }));
        Assert.Equal(["base:allocation"], client.MetaContexts);

        var description = await NbdClient.DescribeAsync(fixture.EndPoint, Options(tls), true, cancellation);
        Assert.True(description.IsEncrypted);
        Assert.Equal("vda", Assert.Single(description.Exports).Name);
    }
}
