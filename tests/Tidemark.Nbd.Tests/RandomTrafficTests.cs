using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>Many callers at once, each on a part of the disk of its own, against a model: plain memory.</summary>
public sealed class RandomTrafficTests
{
    private const int PartLength = 256 << 10;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(1, 16, 64)]
    [InlineData(4, 16, 64)]
    [InlineData(2, 1, 2)]
    public Task Every_caller_reads_what_it_wrote(int connections, int workers, int requests) =>
        TestSeed.RunAsync(async random =>
    {
        await using var fixture = await NbdFixture.StartAsync(new NbdServerOptions { WorkersPerConnection = workers });
        const int callers = 12;
        var disk = new MemoryNode("disk", new byte[callers * PartLength]);
        fixture.Export("vda", new YieldNode(disk, random.Next()), new NbdExportOptions { Writable = true });
        var node = await fixture.ConnectNodeAsync("vda", new NbdNodeOptions
        {
            Connections = connections,
            Client = new NbdClientOptions { MaximumRequests = requests },
        });
        Assert.Equal(connections, node.Clients.Count);
        var seeds = Enumerable.Range(0, callers).Select(_ => random.Next()).ToArray();
        await Task.WhenAll(seeds.Select((seed, caller) => Task.Run(() => CallAsync(node, caller, seed), Cancellation)));
    });

    private static async Task CallAsync(NbdNode node, int caller, int seed)
    {
        var random = new Random(seed);
        var model = new byte[PartLength];
        var origin = (long)caller * PartLength;
        for (var step = 0; step < 300; step++)
        {
            // Mostly small, sometimes over the size from which a request gets a thread of its own.
            var length = random.Next(8) == 0 ? random.Next(1, PartLength) : random.Next(1, 8192);
            var offset = random.Next(0, PartLength - length + 1);
            switch (random.Next(5))
            {
                case 0 or 1:
                    random.NextBytes(model.AsSpan(offset, length));
                    var flags = random.Next(4) == 0 ? WriteFlags.ForceUnitAccess : WriteFlags.None;
                    await node.WriteAsync(origin + offset, model.AsMemory(offset, length), flags, Cancellation);
                    break;
                case 2:
                    model.AsSpan(offset, length).Clear();
                    await node.WriteZeroesAsync(origin + offset, length, WriteFlags.MayUnmap, Cancellation);
                    break;
                default:
                    var read = new byte[length];
                    await node.ReadAsync(origin + offset, read, Cancellation);
                    Assert.True(read.AsSpan().SequenceEqual(
                        model.AsSpan(offset, length)), $"caller {caller}, step {step}");
                    break;
            }
        }
    }

    /// <summary>Sometimes completes at once, sometimes later on another thread.</summary>
    private sealed class YieldNode(MemoryNode inner, int seed) : BlockNode("yield")
    {
        private int _state = seed;

        public override string Driver => "yield";

        public override long Length => inner.Length;

        public override ValueTask DisposeAsync() => default;

        protected override async ValueTask ReadCoreAsync(
            long offset, Memory<byte> target, CancellationToken cancellationToken)
        {
            await MaybeAsync();
            await inner.ReadAsync(offset, target, cancellationToken);
        }

        protected override async ValueTask WriteCoreAsync(
            long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
        {
            await MaybeAsync();
            await inner.WriteAsync(offset, source, flags, cancellationToken);
        }

        protected override async ValueTask WriteZeroesCoreAsync(
            long offset, long length, WriteFlags flags, CancellationToken cancellationToken)
        {
            await MaybeAsync();
            await inner.WriteZeroesAsync(offset, length, flags, cancellationToken);
        }

        private async ValueTask MaybeAsync()
        {
            if (unchecked((uint)Interlocked.Add(ref _state, 0x2545F491)) % 4 == 0)
            {
                await Task.Yield();
            }
        }
    }
}
