using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Checking;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests;

/// <summary>
/// Power failures. A file records every write and flush of a random history; then for every prefix of it the file is
/// rebuilt, once as it is and again with the writes since the last flush in a random subset, torn at sectors. Each time
/// the image must open, the check must find at most leaks, each sector must hold its flushed content or something
/// written later, and no bitmap that claims to be in step may call a sector clean that differs from the bitmap's
/// beginning.
/// </summary>
public sealed class CrashTests
{
    private const int Sector = 512;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(512, 16, 96 * 1024, 60)]
    [InlineData(512, 64, 96 * 1024, 60)]
    [InlineData(512, 16, 1024 * 1024, 80)]
    [InlineData(4096, 16, 256 * 1024, 60)]
    public Task AfterAnyPrefixTheImageHoldsWhatWasFlushed(int clusterSize, int refcountBits, int length, int steps) =>
        TestSeed.RunAsync(random => RunAsync(random, clusterSize, refcountBits, length, steps, maximumWrite: 20));

    [Fact]
    public Task AfterAnyPrefixOfAGrowingRefcountTable() =>
        TestSeed.RunAsync(random => RunAsync(random, 512, 64, 2_600_000 / Sector * Sector, 30, maximumWrite: 400));

    private static async Task RunAsync(Random random, int clusterSize, int refcountBits, int length, int steps,
        int maximumWrite)
    {
        var history = await MakeHistoryAsync(random, clusterSize, refcountBits, length, steps, maximumWrite);
        var durable = history.File.Initial;
        var content = durable;
        var sinceFlush = new List<FileEvent>();
        var checkEvery = Math.Max(1, history.File.Events.Count / 150);
        for (var count = 0; count <= history.File.Events.Count; count++)
        {
            if (count % checkEvery == 0 || history.File.Events.Count - count < 30)
            {
                await CheckAsync(history, count, content);
                await CheckAsync(history, count, ApplySubset(random, durable, sinceFlush));
            }

            if (count == history.File.Events.Count)
            {
                break;
            }

            var next = history.File.Events[count];
            content = RecordingFile.Apply([.. content], next);
            sinceFlush.Add(next);
            if (next.Kind == FileEventKind.Flush)
            {
                durable = content;
                sinceFlush.Clear();
            }
        }
    }

    // What a disk may hold that has its writes in no order: some of them, in parts. The file's length is kept in order.
    private static byte[] ApplySubset(Random random, byte[] durable, List<FileEvent> events)
    {
        var content = (byte[])durable.Clone();
        foreach (var change in events)
        {
            if (change.Kind != FileEventKind.Write)
            {
                content = RecordingFile.Apply(content, change);
                continue;
            }

            var whole = random.Next(3);
            for (var part = 0; part < change.Data.Length; part += Sector)
            {
                if (whole == 0 || (whole == 1 && random.Next(2) == 0))
                {
                    var data = change.Data.AsSpan(part, Math.Min(Sector, change.Data.Length - part)).ToArray();
                    content = RecordingFile.Apply(content, new FileEvent(FileEventKind.Write, change.Offset + part,
                        data));
                }
            }
        }

        return content;
    }

    private static async Task CheckAsync(History history, int eventCount, byte[] content)
    {
        var report = await Qcow2Check.RunAsync(new RecordingFile(content), Token);
        Assert.True(report.Corruptions == 0, $"after {eventCount} events: {string.Join("; ", report.Messages)}");
        await using var node = await Qcow2Node.OpenAsync(
            "a", new RecordingFile(content), new Qcow2OpenOptions { ReadOnly = true }, Token);
        var disk = new byte[node.Length];
        await node.ReadAsync(0, disk, Token);
        var flushedSteps = history.Flushes.Where(flush => flush.EventCount <= eventCount).Max(flush => flush.StepCount);
        for (var sector = 0; sector < disk.Length / Sector; sector++)
        {
            var found = BinaryPrimitives.ReadInt32LittleEndian(disk.AsSpan(sector * Sector));
            var writes = history.Sectors[sector];
            var last = writes.FindLastIndex(write => write.Step < flushedSteps);
            Assert.True(
                writes.Skip(Math.Max(last, 0)).Any(write => write.Value == found),
                $"after {eventCount} events sector {sector} holds {found}, lost after step {flushedSteps}");
            Assert.True(SameFill(disk.AsSpan(sector * Sector, Sector)),
                $"after {eventCount} events sector {sector} is torn");
        }

        foreach (var bitmap in node.Bitmaps.Where(bitmap => !bitmap.IsInconsistent && bitmap.Name == "since-start"))
        {
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

    private static bool SameFill(ReadOnlySpan<byte> sector) =>
        !MemoryMarshal.Cast<byte, int>(sector).ContainsAnyExcept(MemoryMarshal.Cast<byte, int>(sector)[0]);

    // Every write fills its sectors with a number of its own, so that a sector tells which write it is from.
    private static async Task<History> MakeHistoryAsync(
        Random random, int clusterSize, int refcountBits, int length, int steps, int maximumWrite)
    {
        // Freed clusters keep their bytes: whoever names one too early finds garbage.
        RecordingFile file = new() { IgnoresDiscards = random.Next(3) != 0 };
        Qcow2OpenOptions open = new() { GrowthStep = clusterSize * 16 };
        await Qcow2Image.CreateAsync(
            file, new Qcow2CreateOptions { Length = length, ClusterSize = clusterSize, RefcountBits = refcountBits },
                Token);
        var sectors = Enumerable.Range(0, length / Sector).Select(_ =>
            new List<(int Step, int Value)> { (-1, 0) }).ToArray();
        await using (var node = await Qcow2Node.OpenAsync("a", file, open, Token))
        {
            for (var step = 0; step < 5; step++)
            {
                await ChangeAsync(node, random, sectors, -1, 1_000_000 + step, maximumWrite);
            }

            node.Bitmaps.Add(new DirtyBitmap("since-start", length, 512) { IsPersistent = true });
            node.Bitmaps.Add(new DirtyBitmap("other", length, 4096) { IsPersistent = true, IsRecording = false });
        }

        var start = sectors.Select(writes => writes[^1].Value).ToArray();
        file.StartRecording();
        List<(int EventCount, int StepCount)> flushes = [(0, 0)];
        await using (var node = await Qcow2Node.OpenAsync("a", file, open, Token))
        {
            for (var step = 0; step < steps; step++)
            {
                if (random.Next(6) == 0)
                {
                    await node.FlushAsync(Token);
                    flushes.Add((file.Events.Count, step));
                }
                else if (step == steps / 2)
                {
                    await node.RemoveStoredBitmapAsync("other", Token);
                    node.Bitmaps.Remove(node.Bitmaps.Find("other")!);
                    node.Bitmaps.Add(new DirtyBitmap("new", length, 4096) { IsPersistent = true });
                }
                else
                {
                    await ChangeAsync(node, random, sectors, step, step + 1, maximumWrite);
                }
            }
        }

        flushes.Add((file.Events.Count, steps));
        return new History(file, sectors, start, flushes);
    }

    private static async Task ChangeAsync(
        Qcow2Node node, Random random, List<(int Step, int Value)>[] sectors, int step, int value, int maximumWrite)
    {
        var first = random.Next(sectors.Length);
        var count = 1 + random.Next(Math.Min(maximumWrite, sectors.Length - first));
        var kind = random.Next(5);
        if (kind == 0)
        {
            value = 0;
            await node.WriteZeroesAsync(
                first * Sector, count * Sector, random.Next(2) == 0 ? WriteFlags.MayUnmap : WriteFlags.None, Token);
        }
        else if (kind == 1)
        {
            value = 0;
            await node.DiscardAsync(first * Sector, count * Sector, Token);
        }
        else
        {
            var data = new byte[count * Sector];
            MemoryMarshal.Cast<byte, int>(data.AsSpan()).Fill(value);
            await node.WriteAsync(first * Sector, data, WriteFlags.None, Token);
        }

        // A discard may do nothing, or zero: what it did is read back.
        var now = new byte[count * Sector];
        await node.ReadAsync(first * Sector, now, Token);
        for (var sector = 0; sector < count; sector++)
        {
            sectors[first + sector].Add((step, BinaryPrimitives.ReadInt32LittleEndian(now.AsSpan(sector * Sector))));
        }
    }

    private sealed record History(
        RecordingFile File, List<(int Step, int Value)>[] Sectors, int[] Start, List<(int EventCount,
            int StepCount)> Flushes);
}
