using System.Diagnostics;
using System.Diagnostics.Tracing;
using System.Runtime.CompilerServices;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>What ten thousand connections leave behind: no thread, descriptor, timer, object or buffer.</summary>
[Trait("Category", "Long")]
[Collection(nameof(AloneCollection))]
public sealed class LeakTests
{
    private const int Many = 10_000;

    // What the runtime and the tests before hold: far less than one of each connection.
    private const int OfOthers = 40;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Ten_thousand_connections_leave_nothing_behind()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new ShortTransfers(new MemoryNode("disk", new byte[1 << 20]));
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true });
        using var pool = new PoolCounter();
        await ConnectManyAsync(fixture, 100, []);
        await EndAsync(fixture);
        var (threads, descriptors, timers) = (Threads, Descriptors, Timer.ActiveCount);
        var rented = pool.Rented;
        List<WeakReference> objects = [];
        await ConnectManyAsync(fixture, Many, objects);
        await EndAsync(fixture);

        Assert.Equal(2 * Many, objects.Count);
        Assert.InRange(Descriptors, 0, descriptors + OfOthers);
        Assert.InRange(Threads, 0, threads + OfOthers);
        Assert.InRange(Timer.ActiveCount, 0, timers + OfOthers);
        Assert.InRange(ThreadPool.PendingWorkItemCount, 0, OfOthers);
        Assert.InRange(pool.Rented, rented - OfOthers, rented + OfOthers);
        Assert.True(pool.Seen > Many / 10, $"{pool.Seen} arrays were rented");
        Assert.Equal(0, fixture.Server.Buffers.Taken);
        Assert.Equal(0, fixture.Server.Budget.Taken);

        // A task that is not done keeps its connection alive, and so does whatever still knows it. The last few may be
        // known to a thread that has nothing else to do.
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        Assert.InRange(objects.Count(known => known.IsAlive), 0, OfOthers);
    }

    private static int Threads
    {
        get
        {
            using var process = Process.GetCurrentProcess();
            return process.Threads.Count;
        }
    }

    private static int Descriptors => Directory.GetFiles("/proc/self/fd").Length;

    private static async Task EndAsync(NbdFixture fixture)
    {
        while (fixture.Server.ConnectionCount > 0)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(10), Cancellation);
        }
    }

    // Each way to end in turn: a farewell, a cut in the handshake, a cut with a request under way, a loss.
    private static async Task ConnectManyAsync(NbdFixture fixture, int count, List<WeakReference> objects)
    {
        for (var index = 0; index < count; index++)
        {
            await ConnectAsync(fixture, index, objects);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static async Task ConnectAsync(NbdFixture fixture, int index, List<WeakReference> objects)
    {
        var (ours, theirs) = SocketTransport.CreatePair();
        var connection = fixture.Server.Serve(theirs);
        objects.Add(new WeakReference(connection));
        if (index % 10 == 9)
        {
            objects.Add(new WeakReference(ours));
            ours.Send(new byte[index % 4], default);
            ours.Dispose();
            await connection.Completed.WaitAsync(Cancellation);
            return;
        }

        var client = await NbdClient.ConnectAsync(ours, new NbdClientOptions { ExportName = "vda" });
        objects.Add(new WeakReference(client));
        await client.ReadAsync(0, new byte[512], Cancellation);
        if (index % 5 == 0)
        {
            // In pieces that do not fit in one request: gathered in a rented array.
            await client.WriteAsync(
                0, [new byte[300], new byte[client.MaximumPayload], new byte[212]], cancellationToken: Cancellation);
        }

        if (index % 10 == 8)
        {
            connection.Abort();
        }

        var last = ReadLastAsync(client);
        await client.DisposeAsync();
        await last;
        await connection.Completed.WaitAsync(Cancellation);
    }

    // Answered, or failed by the loss, which may be known before the request is sent and then is thrown at once.
    private static async Task ReadLastAsync(NbdClient client)
    {
        try
        {
            await client.ReadAsync(0, new byte[512], Cancellation);
        }
        catch (NbdException)
        {
        }
    }

    private sealed class ShortTransfers(BlockNode file) : FilterNode("short", file)
    {
        public override string Driver => "short";

        public override BlockLimits Limits => base.Limits with { MaximumTransfer = 16 << 10, PreferredSize = 4096 };
    }

    /// <summary>What is taken from the runtime's shared pool and not given back, by the pool's own events.</summary>
    private sealed class PoolCounter : EventListener
    {
        private long _rented;
        private long _seen;

        internal long Rented => Interlocked.Read(ref _rented);

        internal long Seen => Interlocked.Read(ref _seen);

        protected override void OnEventSourceCreated(EventSource source)
        {
            if (source.Name == "System.Buffers.ArrayPoolEventSource")
            {
                EnableEvents(source, EventLevel.Verbose);
            }
        }

        protected override void OnEventWritten(EventWrittenEventArgs data)
        {
            switch (data.EventId)
            {
                case 1:
                    Interlocked.Increment(ref _rented);
                    Interlocked.Increment(ref _seen);
                    break;
                case 3:
                    Interlocked.Decrement(ref _rented);
                    break;
            }
        }
    }
}
