using Tidemark.Nbd.Client;
using Tidemark.Nbd.Copy;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>What a request costs once everything is warm.</summary>
/// <remarks>Alone: a thread of the pool that did another test's work in between would count that.</remarks>
[Collection(nameof(AloneCollection))]
public sealed class SteadyStateTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(4096, false)]
    [InlineData(256 << 10, false)]
    [InlineData(4096, true)]
    [InlineData(256 << 10, true)]
    public async Task A_request_allocates_nothing_on_the_server(int length, bool extended)
    {
        await using var fixture = await NbdFixture.StartAsync();
        var content = new byte[1 << 20];
        content.AsSpan().Fill(1);
        var disk = new ThreadAllocationNode("disk", content);
        fixture.Export("vda", disk, new NbdExportOptions { Writable = true });
        var (ours, theirs) = SocketTransport.CreatePair();
        fixture.Server.Serve(theirs);
        using var peer = new RawPeer(ours).Enter(
            "vda", extended ? NbdOption.ExtendedHeaders : NbdOption.StructuredReply);
        byte[] Header(NbdCommand command, CommandFlags flags)
        {
            var header = new byte[RequestHeader.SizeOf(extended)];
            new RequestHeader(flags, command, 1, 0, (ulong)length).Write(header, extended);
            return header;
        }

        var read = Header(NbdCommand.Read, CommandFlags.None);
        var write = RawPeer.Bytes(
            Header(NbdCommand.Write, extended ? CommandFlags.PayloadLength : CommandFlags.None),
            content.AsSpan(0, length).ToArray());
        var readReply = new byte[ChunkHeader.SizeOf(extended) + 8 + length];
        var writeReply = new byte[extended ? ChunkHeader.ExtendedSize : SimpleReplyHeader.Size];

        void Exchange(int rounds)
        {
            for (var round = 0; round < rounds; round++)
            {
                ours.Send(read, default);
                ours.ReceiveAll(readReply);
                ours.Send(write, default);
                ours.ReceiveAll(writeReply);
            }
        }

        // The node runs on the server's worker: between two of its calls lies one whole turn of the worker.
        Exchange(200);
        disk.Begin();
        Exchange(200);
        Assert.Equal(content.AsSpan(0, length), readReply.AsSpan(^length..));
        Assert.True(disk.Samples > 100, $"{disk.Samples} samples");
        Assert.True(disk.AllocatedBytes <= 64 * 1024, $"{disk.AllocatedBytes} bytes in {disk.Samples} requests");
        await Task.CompletedTask;
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task A_copy_allocates_nothing_for_a_piece_and_needs_few_buffers(int connections)
    {
        const int length = 8 << 20;
        var lanes = 32 * connections;
        await using var fixture = await NbdFixture.StartAsync();
        var content = new byte[length];
        content.AsSpan().Fill(1);
        fixture.Export("vda", new MemoryNode("disk", content));
        var source = await fixture.ConnectNodeAsync("vda", new NbdNodeOptions
        {
            Connections = connections,
            Client = new NbdClientOptions { InlineCompletions = true },
        });
        var options = new DiskCopyOptions { RequestSize = 4096, Requests = lanes };
        var copied = new byte[length];

        // The target is written on the threads that receive: between two of its calls lies the whole turn of a piece.
        var target = new ThreadAllocationNode("target", copied);
        await DiskCopy.RunAsync(source, target, options, null, Cancellation);
        target.Begin();
        var report = await DiskCopy.RunAsync(source, target, options, null, Cancellation);

        Assert.Equal(content, copied);

        // One for each thread that receives; and, where a reply comes before its lane begins to wait, one for a thread
        // of the pool, which may lose the processor while it holds it.
        var most = Math.Min(connections + (2 * Environment.ProcessorCount), lanes / 2);
        Assert.InRange(report.BuffersMade, 1, most);
        Assert.True(target.Samples > 1000, $"{target.Samples} samples");
        Assert.True(
            target.AllocatedBytes < 4L * target.Samples,
            $"{target.AllocatedBytes} bytes in {target.Samples} pieces");
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
}
