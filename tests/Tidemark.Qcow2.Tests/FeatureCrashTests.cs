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
public sealed class FeatureCrashTests
{
    private const int Sector = 512;

    // What the variants are tried with: small clusters, so that every table changes often.
    private static readonly ImageVariant[] s_variants =
    [
        new("lazy refcounts") { Lazy = true, ClusterSize = 512 },
        new("subclusters") { Extended = true, ClusterSize = 16384 },
        new("subclusters, set aside")
        {
            Extended = true, ClusterSize = 16384, Preallocation = Qcow2Preallocation.Metadata,
        },
        new("data file") { DataFile = true, ClusterSize = 1024 },
        new("raw data file") { DataFile = true, Raw = true, ClusterSize = 1024 },
        new("discard without unref") { KeepsOnDiscard = true, ClusterSize = 1024 },
        new("version 2") { Version = 2, ClusterSize = 512 },
    ];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(512, 16, 96 * 1024, 60)]
    [InlineData(512, 64, 96 * 1024, 60)]
    [InlineData(512, 16, 1024 * 1024, 80)]
    [InlineData(4096, 16, 256 * 1024, 60)]
    public Task AfterAnyPrefixTheImageHoldsWhatWasFlushed(int clusterSize, int refcountBits, int length, int steps) =>
        TestSeed.RunAsync(
            random => RunAsync(random, Plain(clusterSize, refcountBits), length, steps, maximumWrite: 20));

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    public Task AfterAnyPrefixOfEveryKindOfImage(int variant) =>
        TestSeed.RunAsync(random => RunAsync(random, s_variants[variant], 96 * 1024, 60, maximumWrite: 20));

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3)]
    public Task AfterAnyPrefixOfCompressedWrites(int kind) => TestSeed.RunAsync(random => RunAsync(
        random,
        kind == 3 ? s_variants[0] with { ClusterSize = 2048 } : Plain(2048, kind == 0 ? 16 : 1),
        96 * 1024, 60, maximumWrite: 20, compresses: true));

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public Task AfterAnyPrefixOfResizes(int kind) => TestSeed.RunAsync(random => RunAsync(
        random, kind == 0 ? Plain(2048, 16) : s_variants[kind - 1], 96 * 1024, 60, maximumWrite: 20, resizes: true));

    [Fact]
    public Task AfterAnyPrefixOfAGrowingRefcountTable() =>
        TestSeed.RunAsync(
            random => RunAsync(random, Plain(512, 64), 2_600_000 / Sector * Sector, 30, maximumWrite: 400));

    private static ImageVariant Plain(int clusterSize, int refcountBits) =>
        new("plain") { ClusterSize = clusterSize, RefcountBits = refcountBits };

    private static async Task RunAsync(
        Random random, ImageVariant variant, int length, int steps, int maximumWrite, bool compresses = false,
        bool resizes = false)
    {
        var history = await MakeHistoryAsync(random, variant, length, steps, maximumWrite, compresses, resizes);
        var durable = history.Files.Select(file => file.Initial).ToArray();
        var content = durable.ToArray();
        var sinceFlush = history.Files.Select(_ => new List<FileEvent>()).ToArray();
        var checkEvery = Math.Max(1, history.Log.Count / 150);
        for (var count = 0; count <= history.Log.Count; count++)
        {
            if (count % checkEvery == 0 || history.Log.Count - count < 30)
            {
                await CheckAsync(history, variant, count, content);
                var torn = durable.Select((bytes, file) => ApplySubset(random, bytes, sinceFlush[file])).ToArray();
                await CheckAsync(history, variant, count, torn);
            }

            if (count == history.Log.Count)
            {
                break;
            }

            // Each file is flushed by itself.
            var (index, next) = history.Log[count];
            content[index] = RecordingFile.Apply([.. content[index]], next);
            sinceFlush[index].Add(next);
            if (next.Kind == FileEventKind.Flush)
            {
                durable[index] = content[index];
                sinceFlush[index].Clear();
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

    private static async Task CheckAsync(History history, ImageVariant variant, int eventCount, byte[][] contents)
    {
        // Copies: a repair changes them.
        RecordingFile file = new([.. contents[0]]);
        var data = variant.DataFile ? new RecordingFile([.. contents[1]], "data") : null;
        if ((await Qcow2Image.ReadHeaderAsync(file, Token)).IsDirty)
        {
            // Whoever opens it for writing repairs it first; then not even a leak is left.
            Assert.True(variant.Lazy);
            var repaired = await Qcow2Check.RunAsync(
                file, new Qcow2CheckOptions { Repair = Qcow2Repair.All, DataFile = data }, Token);
            Assert.True(repaired.IsClean, $"after {eventCount} events: {string.Join("; ", repaired.Messages)}");
            Assert.True((await Qcow2Check.RunAsync(file, Token)).IsClean);
        }

        var report = await Qcow2Check.RunAsync(file, Token);
        Assert.True(report.Corruptions == 0, $"after {eventCount} events: {string.Join("; ", report.Messages)}");
        await using var node = await Qcow2Node.OpenAsync(
            "a", file, variant.Open(data) with { ReadOnly = true }, Token);
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

        Assert.Contains(node.Length, history.Lengths);
        foreach (var bitmap in node.Bitmaps.Where(bitmap =>
            !history.Resizes && !bitmap.IsInconsistent && bitmap.Name == "since-start"))
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
        Random random, ImageVariant variant, int length, int steps, int maximumWrite, bool compresses, bool resizes)
    {
        // Freed clusters keep their bytes: whoever names one too early finds garbage.
        List<(int File, FileEvent Event)> log = [];
        var ignores = random.Next(3) != 0;
        RecordingFile file = new() { IgnoresDiscards = ignores, Observer = change => log.Add((0, change)) };
        var data = variant.DataFile
            ? new RecordingFile(name: "data") { IgnoresDiscards = ignores, Observer = change => log.Add((1, change)) }
            : null;
        var open = variant.Open(data);
        await Qcow2Image.CreateAsync(file, variant.Options(length, data), Token);
        var sectors = Enumerable.Range(0, length / Sector).Select(_ =>
            new List<(int Step, int Value)> { (-1, 0) }).ToArray();
        await using (var node = await Qcow2Node.OpenAsync("a", file, open, Token))
        {
            for (var step = 0; step < 5; step++)
            {
                await ChangeAsync(node, random, sectors, -1, 1_000_000 + step, maximumWrite);
            }

            if (variant.Version > 2)
            {
                node.Bitmaps.Add(new DirtyBitmap("since-start", length, 512) { IsPersistent = true });
                node.Bitmaps.Add(new DirtyBitmap("other", length, 4096) { IsPersistent = true, IsRecording = false });
            }
        }

        var start = sectors.Select(writes => writes[^1].Value).ToArray();
        file.StartRecording();
        data?.StartRecording();
        log.Clear();
        HashSet<long> lengths = [length];
        List<(int EventCount, int StepCount)> flushes = [(0, 0)];
        await using (var node = await Qcow2Node.OpenAsync("a", file, open, Token))
        {
            for (var step = 0; step < steps; step++)
            {
                if (random.Next(6) == 0)
                {
                    await node.FlushAsync(Token);
                    flushes.Add((log.Count, step));
                }
                else if (resizes && random.Next(5) == 0)
                {
                    // To the size that it has: nothing is done, and so nothing made durable either.
                    if (await ResizeAsync(node, random, sectors, step, lengths))
                    {
                        flushes.Add((log.Count, step + 1));
                    }
                }
                else if (compresses && random.Next(3) == 0)
                {
                    await CompressAsync(node, random, sectors, step, step + 1);
                }
                else if (step == steps / 2 && variant.Version > 2)
                {
                    await node.RemoveStoredBitmapAsync("other", Token);
                    node.Bitmaps.Remove(node.Bitmaps.Find("other")!);
                    node.Bitmaps.Add(new DirtyBitmap("new", node.Length, 4096) { IsPersistent = true });
                }
                else
                {
                    await ChangeAsync(node, random, sectors, step, step + 1, maximumWrite);
                }
            }
        }

        flushes.Add((log.Count, steps));
        RecordingFile[] files = data is null ? [file] : [file, data];
        return new History(files, log, sectors, start, flushes, lengths, resizes);
    }

    // What is cut off is given up from the moment that it is asked for; when it comes back it is zero. Returns whether
    // there was anything to do.
    private static async Task<bool> ResizeAsync(
        Qcow2Node node, Random random, List<(int Step, int Value)>[] sectors, int step, HashSet<long> lengths)
    {
        long length = Sector * (1 + random.Next(sectors.Length));
        for (var sector = (int)(Math.Min(length, node.Length) / Sector); sector < sectors.Length; sector++)
        {
            sectors[sector].Add((step, 0));
        }

        lengths.Add(length);
        var changes = length != node.Length;
        await node.ResizeDiskAsync(length, cancellationToken: Token);
        return changes;
    }

    private static async Task CompressAsync(
        Qcow2Node node, Random random, List<(int Step, int Value)>[] sectors, int step, int value)
    {
        var clusters = (int)(node.Length / node.ClusterSize);
        var first = random.Next(clusters);
        var data = new byte[node.ClusterSize * (1 + random.Next(Math.Min(4, clusters - first)))];
        MemoryMarshal.Cast<byte, int>(data.AsSpan()).Fill(value);
        await node.WriteCompressedAsync((long)first * node.ClusterSize, data, Token);
        var start = first * node.ClusterSize / Sector;
        for (var sector = start; sector < start + (data.Length / Sector); sector++)
        {
            sectors[sector].Add((step, value));
        }
    }

    private static async Task ChangeAsync(
        Qcow2Node node, Random random, List<(int Step, int Value)>[] sectors, int step, int value, int maximumWrite)
    {
        var there = (int)(node.Length / Sector);
        var first = random.Next(there);
        var count = 1 + random.Next(Math.Min(maximumWrite, there - first));
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
        RecordingFile[] Files,
        List<(int File, FileEvent Event)> Log,
        List<(int Step, int Value)>[] Sectors,
        int[] Start,
        List<(int EventCount, int StepCount)> Flushes,
        HashSet<long> Lengths,
        bool Resizes);
}
