using Tidemark.Nbd.Server;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>The memory of a server's requests: how much of it there is, and that none is used after it was
/// freed.</summary>
public sealed class ServerBuffersTests
{
    [Fact]
    public void What_is_kept_for_one_length_makes_room_for_another()
    {
        using var buffers = new ServerBuffers(long.MaxValue);
        foreach (var length in (int[])[256 << 10, 2 << 20, 64 << 10, 8 << 20, 256 << 10, 1])
        {
            var count = (8 << 20) / Math.Max(length, 64 << 10);
            var taken = Enumerable.Range(0, count).Select(_ => buffers.Take(length)).ToArray();
            Assert.All(taken, buffer => Assert.InRange(buffer.Length, length, Math.Max(length, 64 << 10) + 4096));
            Assert.True(buffers.HeldBytes <= ServerBuffers.MaximumKept, $"{buffers.HeldBytes} bytes at {length}");
            foreach (var buffer in taken)
            {
                buffer.GetSpan().Fill(1);
                buffers.GiveBack(buffer);
            }
        }

        Assert.Equal(0, buffers.Taken);
    }

    [Fact]
    public void No_more_is_kept_than_may_be_taken_at_once()
    {
        using var buffers = new ServerBuffers(1 << 20);
        var taken = Enumerable.Range(0, 8).Select(_ => buffers.Take(256 << 10)).ToArray();
        Array.ForEach(taken, buffers.GiveBack);
        Assert.InRange(buffers.HeldBytes, 512 << 10, 1 << 20);
    }

    [Fact]
    public void The_last_one_given_back_is_the_next_one_taken()
    {
        using var buffers = new ServerBuffers(long.MaxValue);
        var first = buffers.Take(100_000);
        var second = buffers.Take(100_000);
        buffers.GiveBack(first);
        buffers.GiveBack(second);
        Assert.Same(second, buffers.Take(120_000));
        Assert.Same(first, buffers.Take(70_000));
    }

    [Fact]
    public void What_is_over_the_limit_or_comes_late_goes_back_to_the_system_and_cannot_be_used_again()
    {
        var buffers = new ServerBuffers(long.MaxValue);
        var long1 = buffers.Take(16 << 20);
        var late = buffers.Take(1);
        buffers.GiveBack(long1);
        Assert.Throws<ObjectDisposedException>(() => long1.GetSpan()[0]);
        buffers.Dispose();
        late.GetSpan().Clear();
        buffers.GiveBack(late);
        Assert.Throws<ObjectDisposedException>(() => late.GetSpan()[0]);
        Assert.Throws<ObjectDisposedException>(() => late.Pin());
        Assert.Equal(0, buffers.HeldBytes);
    }
}
