using System.Diagnostics;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>How many connections a node has at a server that takes fewer than it wants.</summary>
public sealed class NodeConnectionTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task A_server_that_lets_further_clients_wait_is_used_with_the_connections_that_it_takes(int limit)
    {
        await using var fixture = await NbdFixture.StartAsync(new NbdServerOptions { MaximumConnections = limit });
        fixture.Export("vda", new MemoryNode("disk", new byte[1 << 20]), new NbdExportOptions { Writable = true });
        var watch = Stopwatch.StartNew();
        var node = await fixture.ConnectNodeAsync("vda", new NbdNodeOptions { Connections = 4 });
        Assert.Equal(limit, node.Clients.Count);

        // Not the thirty seconds of a server that does not answer at all.
        Assert.InRange(watch.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(20));
        for (var round = 0; round < 8; round++)
        {
            await node.WriteAsync(round * 512, new byte[512], cancellationToken: Cancellation);
        }

        await node.FlushAsync(Cancellation);
    }

    [Fact]
    public async Task A_second_connection_to_another_disk_is_an_error_and_not_done_without()
    {
        // A server that has the export replaced between two connections of one node.
        await using var fixture = await NbdFixture.StartAsync();
        var time = new SecondConnection(fixture);
        fixture.Export("vda", new MemoryNode("disk", new byte[8192]));
        var error = await Assert.ThrowsAsync<NbdException>(() => fixture.ConnectNodeAsync(
            "vda", new NbdNodeOptions { Connections = 2, Client = new NbdClientOptions { TimeProvider = time } }));
        Assert.Contains("differently", error.Message, StringComparison.Ordinal);
    }

    /// <summary>A clock that replaces the export when somebody looks at it for the second time: after the first
    /// connection.</summary>
    private sealed class SecondConnection(NbdFixture fixture) : TimeProvider
    {
        private int _looks;

        public override long GetTimestamp()
        {
            if (Interlocked.Increment(ref _looks) == 2)
            {
                fixture.Server.RemoveExportAsync("vda", NbdExportRemoval.Hard, default).GetAwaiter().GetResult();
                fixture.Export("vda", new MemoryNode("other", new byte[4096]));
            }

            return base.GetTimestamp();
        }
    }
}
