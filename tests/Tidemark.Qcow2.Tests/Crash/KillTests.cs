using System.Buffers.Binary;
using System.Globalization;
using System.Runtime.InteropServices;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Checking;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests.Crash;

/// <summary>
/// kill -9 in earnest: a process of its own writes to an image and notes in a log which flushes were acknowledged; it
/// is killed anywhere; then qemu-img and our check find at most leaks, every acknowledged write is there, and no bitmap
/// claims to be in step. Then the next process goes on with the same image.
/// </summary>
/// <remarks>21 kills; <c>TIDEMARK_SOAK=10</c> makes 201 of them.</remarks>
[Trait("Category", "Long")]
public sealed class KillTests
{
    private const int Kills = 20, Sector = 512, Length = 4 << 20;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(65536, 16, false)]
    [InlineData(512, 64, false)]
    [InlineData(16384, 16, true)]
    public Task AKilledWriterLosesNothingThatWasFlushed(int clusterSize, int refcountBits, bool extended) =>
        TestSeed.RunAsync(async random =>
        {
            using TemporaryDirectory directory = new(inMemory: true);
            var path = directory.File("killed.qcow2");
            await using (var file = RawFileNode.Create("file", path, 0))
            {
                await Qcow2Image.CreateAsync(file, new Qcow2CreateOptions
                {
                    Length = Length, ClusterSize = clusterSize, RefcountBits = refcountBits, ExtendedL2 = extended,
                }, Token);
            }

            var start = new int[Length / Sector];
            var soak = int.TryParse(Environment.GetEnvironmentVariable("TIDEMARK_SOAK"), out var factor) ? factor : 1;
            for (var kill = 0; kill < ((Kills * soak) + 2) / 3; kill++)
            {
                start = await KillOnceAsync(path, random, start);
            }
        });

    /// <summary>The writer, in a process of its own; nothing when this is not that process.</summary>
    [Fact]
    public async Task WriteUntilKilled()
    {
        if (Child.Task?.Split('|') is not [var path, var seed, var log])
        {
            return;
        }

        await using var acknowledged = new FileStream(log, FileMode.CreateNew, FileAccess.Write, FileShare.Read, 0);
        await using var file = RawFileNode.Open("file", path, readOnly: false);
        await using var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
        foreach (var stale in node.Bitmaps.ToList())
        {
            await node.RemoveStoredBitmapAsync(stale.Name!, Token);
            node.Bitmaps.Remove(stale);
        }

        node.Bitmaps.Add(new DirtyBitmap("b", node.Length) { IsPersistent = true });
        Random random = new(int.Parse(seed, CultureInfo.InvariantCulture));
        for (var step = 0; ; step++)
        {
            await DoAsync(node, Operation.Next(random, step));
            if (step % 5 == 4)
            {
                await node.FlushAsync(Token);
                await acknowledged.WriteAsync(new byte[] { 1 }, Token);
            }
        }
    }

    private static async Task<int[]> KillOnceAsync(string path, Random random, int[] start)
    {
        var (seed, log) = (random.Next(), $"{path}.{random.Next()}");
        var wanted = random.Next(1, 60);
        using var child = Child.Start(
            "Tidemark.Qcow2.Tests.Crash.KillTests.WriteUntilKilled", $"{path}|{seed}|{log}");
        while (!File.Exists(log) || new FileInfo(log).Length < wanted)
        {
            Assert.False(child.HasExited, "the writer ended by itself");
            await Task.Delay(1, Token);
        }

        child.Kill();
        await child.WaitForExitAsync(Token);
        var flushed = (int)new FileInfo(log).Length * 5;
        if (Tool.Find("qemu-img") is not null)
        {
            var check = await Tool.RunAsync("qemu-img", ["check", "-f", "qcow2", path]);
            Assert.True(check.ExitCode is 0 or 3, $"{check.ExitCode}: {check.Output}{check.Error}");
        }

        await using var file = RawFileNode.Open("file", path, readOnly: true);
        var report = await Qcow2Check.RunAsync(file, Token);
        Assert.True(report.Corruptions == 0, string.Join("; ", report.Messages));
        await using var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions { ReadOnly = true }, Token);
        Assert.All(node.Bitmaps, bitmap => Assert.True(bitmap.IsInconsistent));
        var disk = new byte[Length];
        await node.ReadAsync(0, disk, Token);
        return Judge(disk, seed, flushed, start);
    }

    // Each sector holds what it held when the last acknowledged flush began, or something written since.
    private static int[] Judge(byte[] disk, int seed, int flushed, int[] start)
    {
        const int Ahead = 400;
        var possible = start.Select(value => new List<int> { value }).ToArray();
        Random random = new(seed);
        for (var step = 0; step < flushed + Ahead; step++)
        {
            var operation = Operation.Next(random, step);
            for (var sector = operation.First; sector < operation.First + operation.Count; sector++)
            {
                if (step < flushed)
                {
                    possible[sector].Clear();
                }

                possible[sector].Add(operation.Value);
            }
        }

        var found = new int[start.Length];
        for (var sector = 0; sector < found.Length; sector++)
        {
            found[sector] = BinaryPrimitives.ReadInt32LittleEndian(disk.AsSpan(sector * Sector));
            Assert.True(possible[sector].Contains(found[sector]),
                $"sector {sector} holds {found[sector]} after {flushed} acknowledged steps of seed {seed}");
        }

        return found;
    }

    private static async Task DoAsync(Qcow2Node node, Operation operation)
    {
        if (operation.Value == 0)
        {
            await node.WriteZeroesAsync(
                operation.First * Sector, operation.Count * Sector, WriteFlags.MayUnmap, Token);
            return;
        }

        var data = new byte[operation.Count * Sector];
        MemoryMarshal.Cast<byte, int>(data.AsSpan()).Fill(operation.Value);
        await node.WriteAsync(operation.First * Sector, data, cancellationToken: Token);
    }

    private readonly record struct Operation(int First, int Count, int Value)
    {
        internal static Operation Next(Random random, int step)
        {
            var first = random.Next(Length / Sector);
            var count = 1 + random.Next(Math.Min(100, (Length / Sector) - first));
            return new Operation(first, count, random.Next(5) == 0 ? 0 : (step + 1) ^ (random.Next(1 << 15) << 16));
        }
    }
}
