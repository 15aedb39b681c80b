using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Xunit;

namespace Tidemark.Testing;

/// <summary>
/// What every node promises. A test class gets all of it by deriving and saying how its node is made.
/// </summary>
/// <remarks>Ranges are multiples of <see cref="Unit"/>, the node's alignment; writes are left out where the node is
/// made read-only (<see cref="CanWrite"/>).</remarks>
public abstract partial class NodeContract
{
    /// <summary>The length of the disk that is asked for.</summary>
    protected virtual int Length => (1 << 20) + 1536;

    /// <summary>Whether the node takes writes.</summary>
    protected virtual bool CanWrite => true;

    /// <summary>What offsets and lengths are multiples of.</summary>
    protected virtual int Unit => 1;

    protected static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Makes a node that holds these bytes; <see cref="ReleaseAsync"/> gets it back.</summary>
    protected abstract ValueTask<BlockNode> CreateAsync(byte[] content);

    /// <summary>Disposes the node and whatever was made for it.</summary>
    protected virtual ValueTask ReleaseAsync(BlockNode node) => node.DisposeAsync();

    [Fact]
    public Task It_has_the_length_and_sane_limits() => WithAsync((node, content) =>
    {
        Assert.Equal(content.Length, node.Length);
        Assert.True(int.IsPow2(node.Limits.RequestAlignment));
        Assert.True(node.Limits.MaximumTransfer >= 64 << 10);
        Assert.True(node.Limits.PreferredSize > 0);
        Assert.NotEmpty(node.Driver);
        Assert.Equal(!CanWrite, node.IsReadOnly);
        return Task.CompletedTask;
    });

    [Fact]
    public Task It_reads_all_it_holds() => WithAsync(async (node, content) =>
        Assert.Equal(content, await ReadAsync(node, 0, content.Length)));

    [Fact]
    public Task It_reads_the_first_and_the_last_unit() => WithAsync(async (node, content) =>
    {
        Assert.Equal(content[..Unit], await ReadAsync(node, 0, Unit));
        Assert.Equal(content[^Unit..], await ReadAsync(node, content.Length - Unit, Unit));
    });

    [Fact]
    public Task It_reads_any_range() => WithRandomAsync(async (node, content, random) =>
    {
        for (var count = 0; count < 50; count++)
        {
            var (offset, length) = Pick(random, content.Length, content.Length);
            Assert.Equal(content[offset..(offset + length)], await ReadAsync(node, offset, length));
        }
    });

    [Fact]
    public Task A_read_does_not_touch_memory_beside_its_target() => WithAsync(async (node, content) =>
    {
        var memory = new byte[(4 * Unit) + 2];
        memory.AsSpan().Fill(0xa5);
        await node.ReadAsync(Unit, memory.AsMemory(1, 4 * Unit), Token);
        Assert.Equal(0xa5, memory[0]);
        Assert.Equal(0xa5, memory[^1]);
        Assert.Equal(content[Unit..(5 * Unit)], memory[1..^1]);
    });

    [Theory]
    [InlineData(0, 1)]
    [InlineData(1, 0)]
    [InlineData(0, 100)]
    [InlineData(1000, 0)]
    public Task A_request_past_the_end_is_out_of_range(int past, int length) => WithAsync(async (node, content) =>
    {
        var offset = content.Length + ((long)past * Unit);
        var bytes = Math.Max(past == 0 ? 1 : 0, length) * Unit;
        await OutOfRangeAsync(() => node.ReadAsync(offset, new byte[bytes], Token));
        await OutOfRangeAsync(() => node.GetBlockStatusAsync(offset, bytes, new ExtentList(), Token));
    });

    [Fact]
    public Task A_negative_offset_or_an_overflow_is_out_of_range() => WithAsync(async (node, _) =>
    {
        await OutOfRangeAsync(() => node.ReadAsync(-Unit, new byte[Unit], Token));
        await OutOfRangeAsync(() => node.ReadAsync(long.MaxValue - Unit + 1, new byte[2 * Unit], Token));
        await OutOfRangeAsync(() => node.GetBlockStatusAsync(0, -Unit, new ExtentList(), Token));
        await OutOfRangeAsync(() => node.GetBlockStatusAsync(Unit, long.MaxValue - Unit + 1, new ExtentList(), Token));
    });

    [Fact]
    public Task An_empty_read_does_nothing() => WithAsync(async (node, content) =>
    {
        await node.ReadAsync(0, Memory<byte>.Empty, Token);
        await node.ReadAsync(content.Length, Memory<byte>.Empty, Token);
        var extents = new ExtentList();
        await node.GetBlockStatusAsync(0, 0, extents, Token);
        Assert.Empty(extents);
    });

    [Fact]
    public Task Many_reads_at_one_time_are_all_right() => WithRandomAsync(async (node, content, random) =>
    {
        var reads = Enumerable.Range(0, 64).Select(_ => Pick(random, content.Length, 64 << 10)).ToArray();
        await Task.WhenAll(reads.Select(range => Task.Run(
            async () =>
            {
                var expected = content[range.Offset..(range.Offset + range.Length)];
                Assert.Equal(expected, await ReadAsync(node, range.Offset, range.Length));
            },
            Token)));
    });

    [Fact]
    public Task Block_status_covers_exactly_what_was_asked_for() => WithRandomAsync(async (node, content, random) =>
    {
        for (var count = 0; count < 50; count++)
        {
            var (offset, length) = Pick(random, content.Length, content.Length);
            await StatusAsync(node, offset, length);
        }

        await StatusAsync(node, 0, content.Length);
        await StatusAsync(node, 0, Unit);
        await StatusAsync(node, content.Length - Unit, Unit);
    });

    [Fact]
    public Task What_block_status_calls_zero_is_zero() => WithRandomAsync(async (node, content, random) =>
    {
        for (var count = 0; count < 50; count++)
        {
            var (offset, length) = Pick(random, content.Length, content.Length);
            foreach (var extent in await StatusAsync(node, offset, length))
            {
                var bytes = content.AsSpan((int)extent.Offset, (int)extent.Length);
                Assert.False(extent.IsZero && bytes.ContainsAnyExcept((byte)0), $"{extent} is called zero");
            }
        }
    });

    [Fact]
    public Task Block_status_appends_to_what_the_list_holds() => WithAsync(async (node, _) =>
    {
        var extents = new ExtentList();
        await node.GetBlockStatusAsync(0, 8 * Unit, extents, Token);
        await node.GetBlockStatusAsync(8 * Unit, 8 * Unit, extents, Token);
        Assert.Equal(16 * Unit, extents.Length);
    });

    [Fact]
    public Task A_cancelled_read_leaves_the_node_in_order() => WithAsync(async (node, content) =>
    {
        using var cancelled = new CancellationTokenSource();
        await cancelled.CancelAsync();
        try
        {
            await node.ReadAsync(0, new byte[4 * Unit], cancelled.Token);
        }
        catch (OperationCanceledException)
        {
            // Either is allowed: a node may be done before it looks.
        }

        Assert.Equal(content, await ReadAsync(node, 0, content.Length));
    });

    [Fact]
    public Task A_flush_succeeds() => WithAsync((node, _) => node.FlushAsync(Token).AsTask());

    [Fact]
    public async Task A_disposed_node_has_left_its_children()
    {
        var node = await CreateAsync(Fill(new Random(1)));
        BlockNode[] below = [.. node.Children.Select(child => child.Node)];
        await ReleaseAsync(node);
        Assert.All(below, child => Assert.DoesNotContain(child.Parents, parent => parent.Owner == node));
    }

    [Fact]
    public Task A_node_that_is_read_only_says_so() => CanWrite ? Task.CompletedTask : WithAsync(async (node, content) =>
    {
        await FailsAsync(BlockErrorKind.ReadOnly, () => node.WriteAsync(0, new byte[Unit], cancellationToken: Token));
        await FailsAsync(BlockErrorKind.ReadOnly, () => node.WriteZeroesAsync(0, Unit, cancellationToken: Token));
        await FailsAsync(BlockErrorKind.ReadOnly, () => node.DiscardAsync(0, Unit, Token));
        Assert.Equal(content, await ReadAsync(node, 0, content.Length));
    });

    /// <summary>Reads into fresh memory.</summary>
    protected static async Task<byte[]> ReadAsync(BlockNode node, long offset, int length)
    {
        var target = new byte[length];
        await node.ReadAsync(offset, target, Token);
        return target;
    }

    /// <summary>Asks for block status and checks that it is well formed.</summary>
    protected static async Task<ExtentList> StatusAsync(BlockNode node, long offset, long length)
    {
        var extents = new ExtentList();
        await node.GetBlockStatusAsync(offset, length, extents, Token);
        Assert.Equal(offset, extents[0].Offset);
        Assert.Equal(length, extents.Length);
        return extents;
    }

    /// <summary>A disk with stretches of data and of zeroes, of several sizes.</summary>
    protected byte[] Fill(Random random)
    {
        var content = new byte[Length];
        for (var offset = 0; offset < content.Length;)
        {
            var length = Math.Min(content.Length - offset, 1 + random.Next(random.Next(4) == 0 ? 200_000 : 20_000));
            if (random.Next(3) > 0)
            {
                random.NextBytes(content.AsSpan(offset, length));
            }

            offset += length;
        }

        return content;
    }

    protected async Task WithAsync(Func<BlockNode, byte[], Task> body) =>
        await WithRandomAsync((node, content, _) => body(node, content));

    protected Task WithRandomAsync(Func<BlockNode, byte[], Random, Task> body) => TestSeed.RunAsync(async random =>
    {
        var content = Fill(random);
        var node = await CreateAsync([.. content]);
        try
        {
            await body(node, content, random);
        }
        finally
        {
            await ReleaseAsync(node);
        }
    });

    protected (int Offset, int Length) Pick(Random random, int total, int most)
    {
        var units = total / Unit;
        var first = random.Next(units);
        var count = 1 + random.Next(Math.Min(Math.Max(1, most / Unit), units - first));
        return (first * Unit, count * Unit);
    }

    protected static Task OutOfRangeAsync(Func<ValueTask> request) => FailsAsync(BlockErrorKind.OutOfRange, request);

    protected static async Task FailsAsync(BlockErrorKind kind, Func<ValueTask> request)
    {
        var error = await Assert.ThrowsAnyAsync<BlockException>(() => request().AsTask());
        Assert.Equal(kind, error.Kind);
        Assert.NotEmpty(error.Message);
    }

    private static DirtyBitmap Track(BlockNode node, string name, bool recording = true)
    {
        var bitmap = new DirtyBitmap(name, node.Length, DirtyBitmap.MinimumGranularity) { IsRecording = recording };
        node.Bitmaps.Add(bitmap);
        return bitmap;
    }
}
