using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Checking;
using Tidemark.Testing.Images;
using Xunit;

namespace Tidemark.Qcow2.Tests.Crash;

/// <summary>What must hold of the files that a crash has left.</summary>
internal sealed class CrashJudge(CrashHistory history, BlockNode? backing) : IAsyncDisposable
{
    private const int Sector = CrashHistory.Sector;

    private readonly BudgetFile _file = new("crashed", 8 << 20);

    /// <summary>How many crashes were judged.</summary>
    internal int Count { get; private set; }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public ValueTask DisposeAsync() => _file.DisposeAsync();

    /// <param name="eventCount">How many events had happened.</param>
    /// <param name="contents">What the files hold.</param>
    internal async Task CheckAsync(int eventCount, byte[][] contents)
    {
        Count++;
        _file.Reset(contents[0], contents[0].Length);
        _file.IsSealed = true;
        var report = await Qcow2Check.RunAsync(_file, Token);
        Assert.True(report.Corruptions == 0, $"after {eventCount} events: {string.Join("; ", report.Messages)}");
        await using var node = await Qcow2Node.OpenAsync(
            "a", _file, new Qcow2OpenOptions { ReadOnly = true, Backing = backing }, Token);
        var disk = new byte[node.Length];
        await node.ReadAsync(0, disk, Token);
        var flushed = history.Flushes.Where(flush => flush.EventCount <= eventCount).Max(flush => flush.StepCount);
        for (var sector = 0; sector < disk.Length / Sector; sector++)
        {
            var bytes = disk.AsSpan(sector * Sector, Sector);
            var found = BinaryPrimitives.ReadInt32LittleEndian(bytes);
            CheckSector(eventCount, sector, found, flushed);
            if (found != history.Start[sector])
            {
                Assert.True(!MemoryMarshal.Cast<byte, int>(bytes).ContainsAnyExcept(found),
                    $"after {eventCount} events sector {sector} is torn");
            }
        }

        CheckBitmaps(node, eventCount, disk);
    }

    // The last flushed value, or one that was being written later.
    private void CheckSector(int eventCount, int sector, int found, int flushed)
    {
        var values = history.Sectors[sector];
        var last = Math.Max(0, values.FindLastIndex(value => value.Step < flushed));
        for (var index = last; index < values.Count && values[index].FirstEvent <= eventCount; index++)
        {
            if (values[index].Value == found)
            {
                return;
            }
        }

        Assert.Fail($"after {eventCount} events sector {sector} holds {found}, which is not what was flushed before "
            + $"step {flushed}, nor newer");
    }

    // A bitmap that claims to be in step calls nothing clean that was written since it began.
    private void CheckBitmaps(Qcow2Node node, int eventCount, byte[] disk)
    {
        if (node.Bitmaps.Find("since-start") is not { IsInconsistent: false } bitmap)
        {
            return;
        }

        for (var sector = 0; sector < disk.Length / Sector; sector++)
        {
            var found = BinaryPrimitives.ReadInt32LittleEndian(disk.AsSpan(sector * Sector));
            Assert.True(
                found == history.Start[sector] || bitmap.Get(sector * Sector),
                $"after {eventCount} events the bitmap calls sector {sector} clean, which was "
                + $"{history.Start[sector]} and is {found}");
        }
    }
}
