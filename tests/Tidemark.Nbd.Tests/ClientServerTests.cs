using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>Our client against our server: each command, its results and its errors.</summary>
public sealed class ClientServerTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    private static NbdExportOptions Writable => new() { Writable = true };

    [Theory]
    [InlineData(1)]
    [InlineData(4096)]
    [InlineData(65536)]
    [InlineData(65537)]
    [InlineData(1 << 20)]
    public async Task Reads_return_what_writes_wrote(int length)
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new MemoryNode("disk", new byte[4 << 20]);
        fixture.Export("vda", disk, Writable);
        var client = await fixture.ConnectAsync("vda");
        var bytes = new byte[length];
        new Random(length).NextBytes(bytes);

        await client.WriteAsync(12345, bytes, cancellationToken: Cancellation);
        var read = new byte[length];
        await client.ReadAsync(12345, read, Cancellation);

        Assert.Equal(bytes, read);
        Assert.Equal(bytes, disk.Content.AsSpan(12345, length).ToArray());
    }

    [Fact]
    public async Task Reads_and_writes_longer_than_the_maximum_payload_are_cut()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new MemoryNode("disk", new byte[80 << 20]);
        fixture.Export("vda", disk, Writable);
        var client = await fixture.ConnectAsync("vda");
        var bytes = new byte[70 << 20];
        new Random(7).NextBytes(bytes);

        await client.WriteAsync(1000, bytes, forceUnitAccess: true, Cancellation);
        var read = new byte[bytes.Length];
        await client.ReadAsync(1000, read, Cancellation);

        Assert.True(read.AsSpan().SequenceEqual(bytes));
    }

    [Fact]
    public async Task A_file_is_served_with_its_holes()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var file = RawFileNode.Create("disk", fixture.Directory.File("disk.raw"), 8 << 20);
        fixture.Export("vda", file, Writable);
        var node = await fixture.ConnectNodeAsync("vda");
        await node.WriteAsync(1 << 20, Enumerable.Repeat((byte)7, 1 << 20).ToArray(), WriteFlags.None, Cancellation);
        await node.FlushAsync(Cancellation);

        ExtentList extents = new();
        await node.GetBlockStatusAsync(0, node.Length, extents, Cancellation);
        Assert.Equal(
            [
                new Extent(0, 1 << 20, ExtentFlags.Hole | ExtentFlags.Zero),
                new Extent(1 << 20, 1 << 20, ExtentFlags.None),
                new Extent(2 << 20, 6 << 20, ExtentFlags.Hole | ExtentFlags.Zero),
            ],
            extents);

        await node.WriteZeroesAsync(1 << 20, 1 << 20, WriteFlags.MayUnmap, Cancellation);
        await node.DiscardAsync(3 << 20, 1 << 20, Cancellation);
        extents.Clear();
        await node.GetBlockStatusAsync(0, node.Length, extents, Cancellation);
        Assert.Equal([new Extent(0, 8 << 20, ExtentFlags.Hole | ExtentFlags.Zero)], extents);
    }

    [Fact]
    public async Task A_dirty_bitmap_is_a_meta_context()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new MemoryNode("disk", new byte[1 << 20]);
        var bitmap = new DirtyBitmap("b0", 1 << 20);
        bitmap.Set(65536, 65536);
        bitmap.Set(512 << 10, 1);
        bitmap.IsRecording = false;
        var other = new DirtyBitmap("b1", 1 << 20) { IsRecording = false };
        fixture.Export("vda", disk, new NbdExportOptions { Bitmaps = [bitmap, other] });
        Assert.True(bitmap.IsBusy);

        var client =
            await fixture.ConnectAsync("vda", "qemu:dirty-bitmap:b1", "base:allocation", "qemu:dirty-bitmap:b0", "x:y");
        Assert.Equal(
            ["base:allocation", "qemu:dirty-bitmap:b0", "qemu:dirty-bitmap:b1"],
            client.MetaContexts.Order(StringComparer.Ordinal));
        ExtentList extents = new();
        await client.GetExtentsAsync("qemu:dirty-bitmap:b0", 1000, 900000, extents, Cancellation);
        Assert.Equal(
            [
                new Extent(1000, 65536 - 1000, ExtentFlags.None),
                new Extent(65536, 65536, ExtentFlags.Dirty),
                new Extent(131072, (512 << 10) - 131072, ExtentFlags.None),
                new Extent(512 << 10, 65536, ExtentFlags.Dirty),
                new Extent(589824, 901000 - 589824, ExtentFlags.None),
            ],
            extents);
        extents.Clear();
        await client.GetExtentsAsync("qemu:dirty-bitmap:b1", 0, 1 << 20, extents, Cancellation);
        Assert.Equal([new Extent(0, 1 << 20, ExtentFlags.None)], extents);

        await client.DisposeAsync();
        await fixture.Server.RemoveExportAsync("vda", NbdExportRemoval.Hard, Cancellation);
        Assert.False(bitmap.IsBusy);
    }

    [Fact]
    public async Task Errors_of_the_node_reach_the_client_with_their_words_and_the_connection_lives_on()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new FaultNode("disk", 1 << 20);
        fixture.Export("vda", disk, Writable);
        var client = await fixture.ConnectAsync("vda");

        disk.Fault = new BlockException(BlockErrorKind.NoSpace, "the disk is full, quite");
        var error = await Assert.ThrowsAsync<NbdException>(
            async () => await client.WriteAsync(0, new byte[512], cancellationToken: Cancellation));
        Assert.Equal(NbdError.ENOSPC, error.Error);
        Assert.Equal(BlockErrorKind.NoSpace, error.Kind);
        Assert.Contains("the disk is full, quite", error.Message, StringComparison.Ordinal);

        disk.Fault = new InvalidOperationException("a defect");
        error =
            await Assert.ThrowsAsync<NbdException>(async () => await client.ReadAsync(0, new byte[512], Cancellation));
        Assert.Equal(NbdError.EIO, error.Error);

        disk.Fault = null;
        await client.ReadAsync(0, new byte[512], Cancellation);
    }

    [Fact]
    public async Task A_slow_request_does_not_hold_up_the_others()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var disk = new FaultNode("disk", 1 << 20);
        fixture.Export("vda", disk, Writable);
        var client = await fixture.ConnectAsync("vda");
        var block = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        disk.Hold = block.Task;
        var slow = client.ReadAsync(0, new byte[512], Cancellation).AsTask();
        await disk.Held;
        disk.Hold = null;

        for (var count = 0; count < 20; count++)
        {
            await client.ReadAsync(0, new byte[512], Cancellation);
        }

        Assert.False(slow.IsCompleted);
        block.SetResult();
        await slow;
    }

    [Fact]
    public async Task A_read_only_export_refuses_writes()
    {
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", new MemoryNode("disk", new byte[1 << 20]));
        var client = await fixture.ConnectAsync("vda");
        Assert.True(client.IsReadOnly);
        var error = await Assert.ThrowsAsync<NbdException>(
            async () => await client.WriteAsync(0, new byte[4096], cancellationToken: Cancellation));
        Assert.Equal(NbdError.EPERM, error.Error);
        await client.ReadAsync(0, new byte[4096], Cancellation);

        var node = await fixture.ConnectNodeAsync("vda");
        Assert.True(node.IsReadOnly);
    }

    [Fact]
    public async Task Exports_are_listed_with_their_descriptions_and_an_unknown_one_is_refused()
    {
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", new MemoryNode("a", new byte[512]), new NbdExportOptions { Description = "the first" });
        fixture.Export("", new MemoryNode("b", new byte[512]));
        fixture.Export("дом", new MemoryNode("c", new byte[512]));

        var list = await NbdClient.ListExportsAsync(fixture.EndPoint, cancellationToken: Cancellation);
        Assert.Equal([new("vda", "the first"), new("", ""), new("дом", "")], list);
        var error = await Assert.ThrowsAsync<NbdException>(() => fixture.ConnectAsync("vdb"));
        Assert.Equal(BlockErrorKind.NotFound, error.Kind);
        Assert.Contains("there is no export 'vdb'", error.Message, StringComparison.Ordinal);
        Assert.Equal(512, (await fixture.ConnectAsync("дом")).Length);
    }
}
