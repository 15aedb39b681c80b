using System.Buffers.Binary;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests;

/// <summary>The rules of docs/qcow2.md, "Write ordering", read off the recorded writes: whatever a table names was
/// written and flushed before the table itself was written.</summary>
public sealed class WriteOrderTests
{
    private const int ClusterSize = 512;
    private const long OffsetMask = 0x00ff_ffff_ffff_fe00;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public Task WhatATableNamesIsDurableBeforeTheTableIsWritten() => TestSeed.RunAsync(async random =>
    {
        const int Length = 2_600_000;
        RecordingFile file = new() { IgnoresDiscards = true };
        await Qcow2Image.CreateAsync(
            file, new Qcow2CreateOptions { Length = Length, ClusterSize = ClusterSize, RefcountBits = 64 }, Token);
        file.StartRecording();
        await using (var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions { GrowthStep = 8192 }, Token))
        {
            node.Bitmaps.Add(new DirtyBitmap("b", Length, 512) { IsPersistent = true });
            for (var offset = 0; offset < Length; offset += 65_000)
            {
                await node.WriteAsync(offset, new byte[65_000], cancellationToken: Token);
                await node.FlushAsync(Token);
            }

            await InteropTests.ChangeAtRandom(node, new byte[Length], random, 120);
        }

        var l1Offset = BinaryPrimitives.ReadInt64BigEndian(file.Initial.AsSpan(40));
        var l1Length = BinaryPrimitives.ReadInt32BigEndian(file.Initial.AsSpan(36)) * 8;
        int l1Writes = 0, tableWrites = 0, tableMoves = 0;
        var tableOffset = BinaryPrimitives.ReadInt64BigEndian(file.Initial.AsSpan(48));
        for (var index = 0; index < file.Events.Count; index++)
        {
            var change = file.Events[index];
            if (change.Kind != FileEventKind.Write)
            {
                continue;
            }

            if (change.Offset >= l1Offset && change.Offset < l1Offset + l1Length)
            {
                l1Writes++;
                CheckNames(file.Events, index);
            }
            else if (change.Offset >= tableOffset && change.Offset < tableOffset + ClusterSize)
            {
                tableWrites++;
                CheckNames(file.Events, index);
            }
            else if (change.Offset == 0)
            {
                var moved = BinaryPrimitives.ReadInt64BigEndian(change.Data.AsSpan(48));
                tableMoves += moved == tableOffset ? 0 : 1;
                tableOffset = moved;
                Assert.True(IsDurable(file.Events, index, moved),
                    $"event {index}: the header names a table that is not durable");
            }
        }

        Assert.True(l1Writes > 1 && tableWrites > 1 && tableMoves > 0, $"{l1Writes}, {tableWrites}, {tableMoves}");
    });

    private static void CheckNames(List<FileEvent> events, int index)
    {
        var data = events[index].Data;
        for (var entry = 0; entry + 8 <= data.Length; entry += 8)
        {
            var named = BinaryPrimitives.ReadInt64BigEndian(data.AsSpan(entry)) & OffsetMask;
            Assert.True(
                named == 0 || IsDurable(events, index, named),
                    $"event {index}: entry {entry / 8} names 0x{named:x}, not durable");
        }
    }

    // The last write of the cluster before the event, if there was one, has a flush between them.
    private static bool IsDurable(List<FileEvent> events, int index, long cluster)
    {
        var written = events.FindLastIndex(
            index - 1, index, change => change.Kind == FileEventKind.Write && change.Offset <= cluster
                && cluster < change.Offset + Math.Max(1, change.Data.Length));
        return written < 0 || events.FindIndex(written, index - written, change =>
            change.Kind == FileEventKind.Flush) >= 0;
    }
}
