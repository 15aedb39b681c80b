using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>What a request costs once everything is warm, and what many connections leave behind.</summary>
public sealed class SteadyStateTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(4096)]
    [InlineData(256 << 10)]
    public async Task A_request_allocates_nothing_on_the_server(int length)
    {
        await using var fixture = await NbdFixture.StartAsync();
        var content = new byte[1 << 20];
        content.AsSpan().Fill(1);
        var disk = new ThreadAllocationNode("disk", content);
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true });
        var (ours, theirs) = SocketTransport.CreatePair();
        fixture.Server.Serve(theirs);
        using var peer = new RawPeer(ours).Enter("vda");
        var read = RawPeer.Request(NbdCommand.Read, 0, (uint)length);
        var write =
            RawPeer.Bytes(RawPeer.Request(NbdCommand.Write, 0, (uint)length), content.AsSpan(0, length).ToArray());
        var replies = new byte[28 + length + 16];

        void Exchange(int rounds)
        {
            for (var round = 0; round < rounds; round++)
            {
                ours.Send(read, default);
                ours.ReceiveAll(replies.AsSpan(0, 28 + length));
                ours.Send(write, default);
                ours.ReceiveAll(replies.AsSpan(0, 16));
            }
        }

        // The node runs on the server's worker: between two of its calls lies one whole turn of the worker.
        Exchange(200);
        disk.Begin();
        Exchange(200);
        Assert.True(disk.Samples > 100, $"{disk.Samples} samples");
        Assert.True(disk.AllocatedBytes <= 64 * 1024, $"{disk.AllocatedBytes} bytes in {disk.Samples} requests");
        await Task.CompletedTask;
    }

    [Fact]
    public async Task A_request_allocates_nothing_on_the_callers_side_of_the_client()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var content = new byte[1 << 20];
        content.AsSpan().Fill(1);
        fixture.Export("vda", new MemoryNode("disk", content), new NbdExportOptions { Writable = true });
        var client = await fixture.ConnectAsync("vda");
        var target = new byte[4096];

        long Run(int rounds)
        {
            // One thread sends and waits: what it allocates is what a caller pays.
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var round = 0; round < rounds; round++)
            {
                var pending = client.ReadAsync(4096, target, CancellationToken.None);
                SpinWait spin = default;
                while (!pending.IsCompleted)
                {
                    spin.SpinOnce();
                }

                pending.GetAwaiter().GetResult();
            }

            return GC.GetAllocatedBytesForCurrentThread() - before;
        }

        Run(500);
        var allocated = Run(2000);
        Assert.True(allocated < 2000, $"{allocated} bytes in 2000 requests");
        await Task.CompletedTask;
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task Ten_thousand_connections_leave_no_thread_and_no_descriptor()
    {
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", new MemoryNode("disk", new byte[1 << 20]));
        await ConnectManyAsync(fixture, 100);
        var threads = System.Diagnostics.Process.GetCurrentProcess().Threads.Count;
        var descriptors = Directory.GetFiles("/proc/self/fd").Length;
        await ConnectManyAsync(fixture, 10_000);
        while (fixture.Server.ConnectionCount > 0)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(10), Cancellation);
        }

        Assert.InRange(Directory.GetFiles("/proc/self/fd").Length, 0, descriptors + 20);
        Assert.InRange(System.Diagnostics.Process.GetCurrentProcess().Threads.Count, 0, threads + 30);
    }

    private static async Task ConnectManyAsync(NbdFixture fixture, int count)
    {
        for (var index = 0; index < count; index++)
        {
            await using var client = await NbdClient.ConnectAsync(
                fixture.EndPoint, new NbdClientOptions { ExportName = "vda" }, Cancellation);
            await client.ReadAsync(0, new byte[512], Cancellation);
        }
    }
}
