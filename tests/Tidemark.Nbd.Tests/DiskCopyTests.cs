using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Copy;
using Tidemark.Nbd.Protocol;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>A copy from an export, whose bytes get their memory only when they come.</summary>
public sealed class DiskCopyTests
{
    private const int Piece = 16 * 1024;
    private const int Length = (64 * Piece) + 4096;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    // Pieces of data, of zeroes (the server sends each as one hole), and of both (as data).
    private static byte[] Content()
    {
        var content = new byte[Length];
        for (var piece = 0; piece < Length / Piece; piece++)
        {
            var bytes = content.AsSpan(piece * Piece, Piece);
            switch (piece % 3)
            {
                case 1:
                    bytes.Fill((byte)(piece + 1));
                    break;
                case 2:
                    bytes[4096..8192].Fill((byte)(piece + 1));
                    break;
            }
        }

        return content;
    }

    [Theory]
    [InlineData(false, true, 1)]
    [InlineData(true, true, 1)]
    [InlineData(false, true, 4)]
    [InlineData(false, false, 4)]
    public async Task Holes_and_bytes_arrive_as_they_are(bool allocated, bool structured, int connections)
    {
        await using var fixture = await NbdFixture.StartAsync();
        var content = Content();
        fixture.Export("vda", new MemoryNode("disk", content));
        var source = await fixture.ConnectNodeAsync("vda", new NbdNodeOptions
        {
            Connections = connections,
            Client = new NbdClientOptions { InlineCompletions = true, UseStructuredReplies = structured },
        });
        var copied = new byte[Length];
        copied.AsSpan().Fill(0xee);
        var options = new DiskCopyOptions { RequestSize = Piece, Requests = 8, Allocated = allocated };
        var report = await DiskCopy.RunAsync(source, new MemoryNode("target", copied), options, null, Cancellation);

        Assert.Equal(content, copied);
        Assert.Equal((Length, Length), (report.Read, report.Written + report.Zeroed));
        Assert.Equal(allocated, report.Zeroed == 0);
    }

    [Fact]
    public async Task Bytes_that_nobody_keeps_need_one_buffer()
    {
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", new MemoryNode("disk", Content()));
        var source = await fixture.ConnectNodeAsync(
            "vda", new NbdNodeOptions { Client = new NbdClientOptions { InlineCompletions = true } });
        var report = await DiskCopy.RunAsync(
            source, null, new DiskCopyOptions { RequestSize = Piece, Requests = 32 }, null, Cancellation);
        Assert.Equal((Length, 0L, 1), (report.Read, report.Written, report.BuffersMade));
    }

    [Fact]
    public async Task A_disk_that_cannot_be_read_ends_the_copy_with_the_servers_reason()
    {
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", new FaultNode("disk", Length)
        {
            Fault = new BlockException(BlockErrorKind.Io, "the medium is broken"),
        });
        var source = await fixture.ConnectNodeAsync(
            "vda", new NbdNodeOptions { Client = new NbdClientOptions { InlineCompletions = true } });
        var failure = await Assert.ThrowsAsync<NbdException>(() => DiskCopy.RunAsync(
            source, null, new DiskCopyOptions { RequestSize = Piece, Requests = 4 }, null, Cancellation));
        Assert.Equal(NbdError.EIO, failure.Error);
        Assert.Contains("the medium is broken", failure.Message);
    }
}
