using Tidemark.Blocks.Nodes;
using Xunit;

namespace Tidemark.Testing;

// The half for nodes that take writes.
public abstract partial class NodeContract
{
    [Fact]
    public Task It_reads_what_was_written() => WithWritableAsync(async (node, content, random) =>
    {
        for (var count = 0; count < 50; count++)
        {
            var (offset, length) = Pick(random, content.Length, 150_000);
            random.NextBytes(content.AsSpan(offset, length));
            await node.WriteAsync(offset, content.AsMemory(offset, length), cancellationToken: Token);
            Assert.Equal(content[offset..(offset + length)], await ReadAsync(node, offset, length));
        }

        Assert.Equal(content, await ReadAsync(node, 0, content.Length));
    });

    [Fact]
    public Task A_write_changes_nothing_beside_its_range() => WithWritableAsync(async (node, content, _) =>
    {
        var middle = 65536 - (2 * Unit);
        content.AsSpan(middle, 4 * Unit).Fill(7);
        await node.WriteAsync(middle, content.AsMemory(middle, 4 * Unit), cancellationToken: Token);
        content[^1] = 9;
        await node.WriteAsync(
            content.Length - Unit, content.AsMemory(content.Length - Unit), cancellationToken: Token);
        Assert.Equal(content, await ReadAsync(node, 0, content.Length));
    });

    [Fact]
    public Task The_whole_disk_is_written_at_once() => WithWritableAsync(async (node, content, random) =>
    {
        random.NextBytes(content);
        await node.WriteAsync(0, content, cancellationToken: Token);
        Assert.Equal(content, await ReadAsync(node, 0, content.Length));
    });

    [Fact]
    public Task A_write_past_the_end_changes_nothing() => WithWritableAsync(async (node, content, _) =>
    {
        var bitmap = Track(node, "t");
        var last = content.Length - Unit;
        await OutOfRangeAsync(() => node.WriteAsync(last, new byte[2 * Unit], cancellationToken: Token));
        await OutOfRangeAsync(() => node.WriteZeroesAsync(last, 2 * Unit, cancellationToken: Token));
        await OutOfRangeAsync(() => node.DiscardAsync(last, 2 * Unit, Token));
        await OutOfRangeAsync(() => node.WriteAsync(-Unit, new byte[Unit], cancellationToken: Token));
        Assert.Equal(content, await ReadAsync(node, 0, content.Length));
        Assert.Equal(0, bitmap.DirtyGranules);
    });

    [Theory]
    [InlineData(WriteFlags.None)]
    [InlineData(WriteFlags.MayUnmap)]
    [InlineData(WriteFlags.ForceUnitAccess)]
    public Task Written_zeroes_read_as_zero(WriteFlags flags) => WithWritableAsync(async (node, content, random) =>
    {
        for (var count = 0; count < 20; count++)
        {
            var (offset, length) = Pick(random, content.Length, count == 0 ? content.Length : 200_000);
            content.AsSpan(offset, length).Clear();
            await node.WriteZeroesAsync(offset, length, flags, Token);
        }

        Assert.Equal(content, await ReadAsync(node, 0, content.Length));
    });

    [Fact]
    public Task Zeroes_without_fallback_are_zero_or_refused_whole() => WithWritableAsync(async (node, content, _) =>
    {
        try
        {
            await node.WriteZeroesAsync(0, 65536, WriteFlags.NoFallback, Token);
            content.AsSpan(0, 65536).Clear();
        }
        catch (BlockException error)
        {
            Assert.Equal(BlockErrorKind.NotSupported, error.Kind);
        }

        Assert.Equal(content, await ReadAsync(node, 0, content.Length));
    });

    [Fact]
    public Task Data_written_over_zeroes_is_not_called_zero() => WithWritableAsync(async (node, _, random) =>
    {
        await node.WriteZeroesAsync(0, node.Length, WriteFlags.MayUnmap, Token);
        var data = new byte[4 * Unit];
        data.AsSpan().Fill(1);
        await node.WriteAsync(131072, data, cancellationToken: Token);
        Assert.All(await StatusAsync(node, 131072, data.Length), extent => Assert.False(extent.IsZero));
        Assert.Equal(data, await ReadAsync(node, 131072, data.Length));
        Assert.Equal(new byte[Unit], await ReadAsync(node, 131072 - Unit, Unit));
        Assert.Equal(new byte[Unit], await ReadAsync(node, 131072 + data.Length, Unit));
    });

    [Fact]
    public Task A_discard_leaves_all_else_and_the_range_usable() => WithWritableAsync(async (node, content, random) =>
    {
        await node.DiscardAsync(65536, 3 * 65536, Token);
        Assert.Equal(content[..65536], await ReadAsync(node, 0, 65536));
        Assert.Equal(content[(4 * 65536)..], await ReadAsync(node, 4 * 65536, content.Length - (4 * 65536)));
        random.NextBytes(content.AsSpan(65536, 3 * 65536));
        await node.WriteAsync(65536, content.AsMemory(65536, 3 * 65536), cancellationToken: Token);
        Assert.Equal(content, await ReadAsync(node, 0, content.Length));
    });

    [Fact]
    public Task Every_kind_of_write_marks_the_recording_bitmaps() => WithWritableAsync(async (node, _, _) =>
    {
        var marked = Track(node, "recording");
        var asleep = Track(node, "disabled", recording: false);
        var unit = Math.Max(Unit, 512);
        await node.WriteAsync(0, new byte[Unit], cancellationToken: Token);
        await node.WriteZeroesAsync(10L * unit, unit, cancellationToken: Token);
        await node.DiscardAsync(20L * unit, unit, Token);
        await node.WriteAsync(node.Length - Unit, new byte[Unit], WriteFlags.ForceUnitAccess, Token);
        Assert.True(marked.Get(0) && marked.Get(10L * unit) && marked.Get(20L * unit) && marked.Get(node.Length - 1));
        Assert.False(marked.Get(5L * unit));
        Assert.Equal(0, asleep.DirtyGranules);
        await node.ReadAsync(5L * unit, new byte[Unit], Token);
        Assert.False(marked.Get(5L * unit));
    });

    [Fact]
    public Task Writes_to_different_places_all_arrive() => WithWritableAsync(async (node, content, random) =>
    {
        const int Writers = 32;
        var part = content.Length / Writers / Unit * Unit;
        random.NextBytes(content);
        await node.WriteAsync(Writers * part, content.AsMemory(Writers * part), cancellationToken: Token);
        await Task.WhenAll(Enumerable.Range(0, Writers).Select(index => Task.Run(
            async () =>
            {
                var half = part / 2 / Unit * Unit;
                var offset = index * part;
                await node.WriteAsync(offset, content.AsMemory(offset, half), cancellationToken: Token);
                await node.WriteAsync(
                    offset + half, content.AsMemory(offset + half, part - half), cancellationToken: Token);
            },
            Token)));
        Assert.Equal(content, await ReadAsync(node, 0, content.Length));
    });

    [Fact]
    public Task Of_writes_to_one_place_at_one_time_each_byte_is_of_one() => WithWritableAsync(async (node, _, _) =>
    {
        const int Size = 96 << 10;
        await Task.WhenAll(Enumerable.Range(1, 8).Select(value => Task.Run(
            async () =>
            {
                var data = new byte[Size];
                data.AsSpan().Fill((byte)value);
                await node.WriteAsync(4096, data, cancellationToken: Token);
            },
            Token)));
        Assert.All(await ReadAsync(node, 4096, Size), value => Assert.InRange(value, 1, 8));
    });

    [Fact]
    public Task Reads_and_writes_at_one_time_do_not_disturb_each_other() =>
        WithWritableAsync(async (node, content, random) =>
        {
            var half = content.Length / 2 / Unit * Unit;
            var fresh = new byte[content.Length - half];
            random.NextBytes(fresh);
            var writing = Task.Run(
                async () =>
                {
                    for (var at = 0; at < fresh.Length;)
                    {
                        var length = Math.Min(16384, fresh.Length - at);
                        await node.WriteAsync(half + at, fresh.AsMemory(at, length), cancellationToken: Token);
                        at += length;
                    }
                },
                Token);
            for (var count = 0; count < 20; count++)
            {
                Assert.Equal(content[..half], await ReadAsync(node, 0, half));
            }

            await writing;
            Assert.Equal(fresh, await ReadAsync(node, half, fresh.Length));
        });

    [Fact]
    public Task A_cancelled_write_leaves_the_node_in_order() => WithWritableAsync(async (node, content, _) =>
    {
        var bitmap = Track(node, "t");
        using var cancelled = new CancellationTokenSource();
        await cancelled.CancelAsync();
        var data = new byte[65536];
        data.AsSpan().Fill(3);
        try
        {
            await node.WriteAsync(65536, data, cancellationToken: cancelled.Token);
        }
        catch (OperationCanceledException)
        {
            // Either is allowed: a node may be done before it looks.
        }

        var after = await ReadAsync(node, 65536, data.Length);
        var unchanged = after.AsSpan().SequenceEqual(content.AsSpan(65536, 65536));
        Assert.True(unchanged || bitmap.IsAllDirty(65536, data.Length));
        await node.WriteAsync(65536, content.AsMemory(65536, 65536), cancellationToken: Token);
        Assert.Equal(content, await ReadAsync(node, 0, content.Length));
    });

    [Fact]
    public Task Random_requests_leave_what_a_plain_array_has() => WithWritableAsync(async (node, content, random) =>
    {
        for (var step = 0; step < 300; step++)
        {
            var (offset, length) = Pick(random, content.Length, random.Next(4) == 0 ? 300_000 : 9_000);
            switch (random.Next(5))
            {
                case 0:
                    content.AsSpan(offset, length).Clear();
                    var flags = random.Next(2) == 0 ? WriteFlags.MayUnmap : WriteFlags.None;
                    await node.WriteZeroesAsync(offset, length, flags, Token);
                    break;
                case 1:
                    Assert.Equal(content[offset..(offset + length)], await ReadAsync(node, offset, length));
                    break;
                case 2 when random.Next(10) == 0:
                    await node.FlushAsync(Token);
                    break;
                default:
                    random.NextBytes(content.AsSpan(offset, length));
                    await node.WriteAsync(offset, content.AsMemory(offset, length), cancellationToken: Token);
                    break;
            }
        }

        Assert.Equal(content, await ReadAsync(node, 0, content.Length));
        foreach (var extent in await StatusAsync(node, 0, content.Length))
        {
            var bytes = content.AsSpan((int)extent.Offset, (int)extent.Length);
            Assert.False(extent.IsZero && bytes.ContainsAnyExcept((byte)0), $"{extent} is called zero");
        }
    });

    private Task WithWritableAsync(Func<BlockNode, byte[], Random, Task> body)
    {
        // Not skipped: a read-only node has nothing to try here, and A_node_that_is_read_only_says_so covers it.
        return CanWrite ? WithRandomAsync(body) : Task.CompletedTask;
    }
}
