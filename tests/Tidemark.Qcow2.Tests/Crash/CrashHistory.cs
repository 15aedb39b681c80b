using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Nodes;
using Tidemark.Testing.Images;
using Xunit;

namespace Tidemark.Qcow2.Tests.Crash;

/// <summary>A random history of an image: every event of its files, and for every sector of the disk which values it
/// had when.</summary>
/// <remarks>Every write fills its sectors with a number of its own, so that a sector tells which write it is
/// from.</remarks>
internal sealed class CrashHistory
{
    internal const int Sector = 512;

    private readonly Random _random;
    private readonly CrashScenario _scenario;
    private readonly Qcow2OpenOptions _open;

    private CrashHistory(Random random, CrashScenario scenario, CrashDisk disk, int clusterSize)
    {
        _random = random;
        _scenario = scenario;
        Disk = disk;
        _open = new Qcow2OpenOptions { GrowthStep = clusterSize * 16, Backing = scenario.Backing };
    }

    internal CrashDisk Disk { get; }

    /// <summary>For each sector its values: from which event on it may have the value, in which step.</summary>
    internal List<(int FirstEvent, int Step, int Value)>[] Sectors { get; private set; } = [];

    /// <summary>After so many events, all steps before this one were durable.</summary>
    internal List<(int EventCount, int StepCount)> Flushes { get; } = [(0, 0)];

    /// <summary>Each sector when the bitmap that is called <c>since-start</c> began.</summary>
    internal int[] Start { get; private set; } = [];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    internal static async Task<CrashHistory> MakeAsync(Random random, CrashScenario scenario)
    {
        CrashDisk disk = new([], []) { IgnoresDiscards = random.Next(3) != 0 };
        if (scenario.Sketch is { } options)
        {
            disk = new CrashDisk(ImageSketch.Lay(options with { Seed = random.Next() }).File)
            {
                IgnoresDiscards = disk.IgnoresDiscards,
            };
        }
        else
        {
            await Qcow2Image.CreateAsync(disk.Files[0], scenario.Create!, Token);
        }

        CrashHistory history = new(
            random, scenario, disk, scenario.Create?.ClusterSize ?? 1 << scenario.Sketch!.ClusterBits);
        await history.RunAsync();
        return history;
    }

    private async Task RunAsync()
    {
        await using (var node = await Qcow2Node.OpenAsync("a", Disk.Files[0], _open, Token))
        {
            var sectors = (int)(node.Length / Sector);
            Sectors = [.. Enumerable.Range(0, sectors).Select(_ => new List<(int, int, int)>())];
            for (var step = 0; step < _scenario.Prelude; step++)
            {
                await ChangeAsync(node, -1, 1_000_000 + step);
            }

            if (_scenario.HasBitmaps)
            {
                node.Bitmaps.Add(new DirtyBitmap("since-start", node.Length, 512) { IsPersistent = true });
                node.Bitmaps.Add(
                    new DirtyBitmap("other", node.Length, 4096) { IsPersistent = true, IsRecording = false });
            }

            Start = await ReadSectorsAsync(node);
            for (var sector = 0; sector < sectors; sector++)
            {
                Sectors[sector] = [(0, -1, Start[sector])];
            }
        }

        Disk.StartRecording();
        var image = await Qcow2Node.OpenAsync("a", Disk.Files[0], _open, Token);
        for (var step = 0; step < _scenario.Steps; step++)
        {
            image = await StepAsync(image, step);
        }

        await image.DisposeAsync();
        Flushes.Add((Disk.Events.Count, _scenario.Steps));
    }

    private async Task<Qcow2Node> StepAsync(Qcow2Node node, int step)
    {
        switch (_random.Next(12))
        {
            case 0 or 1:
                await node.FlushAsync(Token);
                Flushes.Add((Disk.Events.Count, step + 1));
                return node;
            case 2 when _scenario.HasBitmaps:
                await ChangeBitmapsAsync(node);
                return node;
            case 3:
                await node.DisposeAsync();
                Flushes.Add((Disk.Events.Count, step + 1));
                return await Qcow2Node.OpenAsync("a", Disk.Files[0], _open, Token);
            case 4:
                await node.SetReadOnlyAsync(true, Token);
                Flushes.Add((Disk.Events.Count, step + 1));
                await node.SetReadOnlyAsync(false, Token);
                return node;
            default:
                await ChangeAsync(node, step, step + 1);
                return node;
        }
    }

    private static async Task ChangeBitmapsAsync(Qcow2Node node)
    {
        if (node.Bitmaps.Find("other") is { } other)
        {
            await node.RemoveStoredBitmapAsync("other", Token);
            node.Bitmaps.Remove(other);
        }
        else
        {
            node.Bitmaps.Add(new DirtyBitmap("other", node.Length, 4096) { IsPersistent = true });
        }
    }

    private async Task ChangeAsync(Qcow2Node node, int step, int value)
    {
        var first = _random.Next(Sectors.Length);
        var count = 1 + _random.Next(Math.Min(_scenario.MaximumWrite, Sectors.Length - first));
        var begin = Disk.Events.Count;
        switch (_random.Next(6))
        {
            case 0:
                await node.WriteZeroesAsync(first * Sector, count * Sector,
                    _random.Next(2) == 0 ? WriteFlags.MayUnmap : WriteFlags.None, Token);
                break;
            case 1:
                await node.DiscardAsync(first * Sector, count * Sector, Token);
                break;
            default:
                var data = new byte[count * Sector];
                MemoryMarshal.Cast<byte, int>(data.AsSpan()).Fill(value);
                var through = _random.Next(8) == 0;
                await node.WriteAsync(
                    first * Sector, data, through ? WriteFlags.ForceUnitAccess : WriteFlags.None, Token);
                if (through && step >= 0)
                {
                    Flushes.Add((Disk.Events.Count, step + 1));
                }

                break;
        }

        // A discard may do nothing, or zero: what it did is read back.
        var now = new byte[count * Sector];
        await node.ReadAsync(first * Sector, now, Token);
        for (var sector = 0; sector < count; sector++)
        {
            Sectors[first + sector].Add(
                (begin, step, BinaryPrimitives.ReadInt32LittleEndian(now.AsSpan(sector * Sector))));
        }
    }

    private static async Task<int[]> ReadSectorsAsync(Qcow2Node node)
    {
        var disk = new byte[node.Length];
        await node.ReadAsync(0, disk, Token);
        return [.. Enumerable.Range(0, disk.Length / Sector)
            .Select(sector => BinaryPrimitives.ReadInt32LittleEndian(disk.AsSpan(sector * Sector)))];
    }
}
