using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Checking;
using Xunit;

namespace Tidemark.Qcow2.Tests.Differential;

/// <summary>The library as writer and as judge of an image.</summary>
internal sealed class OurSide(DifferentialKind kind, string path, string? backing, string? dataFile)
{
    private const int Changes = 12;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    internal async Task CreateAsync()
    {
        await using var file = RawFileNode.Create("file", path, 0);
        await Qcow2Image.CreateAsync(
            file,
            kind.Ours! with
            {
                Length = kind.Length, BackingFile = backing, BackingFormat = backing is null ? null : "raw",
            },
            Token);
    }

    internal Task ChangeAsync(DiskModel model, Random random) => WithNodeAsync(readOnly: false, async node =>
    {
        if (kind.HasBitmaps)
        {
            await ChangeBitmapsAsync(node, model, random);
        }

        if (kind.Resizes && random.Next(2) == 0)
        {
            var size = kind.Length + ((random.Next(2000) - 1000) * 512);
            await node.ResizeDiskAsync(size, cancellationToken: Token);
            model.History.Add($"resize {size}");
            model.Resize(size);
        }

        for (var count = random.Next(1, Changes); count > 0; count--)
        {
            var change = DiskChange.Next(random, model, kind.ClusterSize, kind.CanCompress);
            model.History.Add(change.ToString());
            await DoAsync(node, change, random);
            change.ApplyTo(model);
            if (random.Next(8) == 0)
            {
                model.History.Add("read-only and back");
                await node.SetReadOnlyAsync(true, Token);
                await node.SetReadOnlyAsync(false, Token);
            }
        }
    });

    /// <summary>Makes these changes, in one run.</summary>
    internal Task ChangeAsync(DiskModel model, DiskChange[] changes, bool flushes) =>
        WithNodeAsync(readOnly: false, async node =>
        {
            foreach (var change in changes)
            {
                await DoAsync(node, change, new Random(0));
                change.ApplyTo(model);
                if (flushes)
                {
                    await node.FlushAsync(Token);
                }
            }
        });

    /// <summary>What we say of an image that QEMU has written.</summary>
    internal async Task JudgeAsync(DiskModel model)
    {
        await using (var file = RawFileNode.Open("file", path, readOnly: true))
        {
            var report = await Qcow2Check.RunAsync(file, Token);
            Assert.True(report.IsClean, $"our check finds: {string.Join("; ", report.Messages)}");
        }

        await WithNodeAsync(readOnly: true, async node =>
        {
            Assert.Equal(model.Bytes.Length, node.Length);
            var read = new byte[node.Length];
            await node.ReadAsync(0, read, Token);
            var difference = model.Compare(read);
            Assert.True(difference is null, $"we read: {difference}");
            Assert.Null(node.BitmapProblem);
            Assert.Equal(
                model.Bitmaps.Select(pair => $"{pair.Key} {pair.Value.Granularity} {pair.Value.IsRecording}"),
                node.Bitmaps.Select(bitmap => $"{bitmap.Name} {bitmap.Granularity} {bitmap.IsRecording}")
                    .Order(StringComparer.Ordinal));
            foreach (var (name, expected) in model.Bitmaps)
            {
                CompareBitmap(name, expected, node.Bitmaps.Find(name)!);
            }
        });
    }

    private static void CompareBitmap(string name, ModelBitmap expected, DirtyBitmap bitmap)
    {
        Assert.False(bitmap.IsInconsistent, $"bitmap {name} is inconsistent");
        for (long offset = 0; offset < bitmap.Length; offset += bitmap.Granularity)
        {
            Assert.True(expected.Get(offset) == bitmap.Get(offset), $"bitmap {name} differs at {offset}");
        }
    }

    private static async Task DoAsync(Qcow2Node node, DiskChange change, Random random)
    {
        switch (change.Kind)
        {
            case DiskChangeKind.Compressed:
                var packed = new byte[change.Length];
                packed.AsSpan().Fill(change.Pattern);
                await node.WriteCompressedAsync(change.Offset, packed, Token);
                break;
            case DiskChangeKind.Zero:
                await node.WriteZeroesAsync(change.Offset, change.Length, WriteFlags.None, Token);
                break;
            case DiskChangeKind.ZeroAndUnmap:
                await node.WriteZeroesAsync(change.Offset, change.Length, WriteFlags.MayUnmap, Token);
                break;
            case DiskChangeKind.Discard:
                await node.DiscardAsync(change.Offset, change.Length, Token);
                break;
            case DiskChangeKind.Flush:
                await node.WriteZeroesAsync(change.Offset, change.Length, WriteFlags.ForceUnitAccess, Token);
                break;
            default:
                var data = new byte[change.Length];
                data.AsSpan().Fill(change.Pattern);
                await node.WriteAsync(
                    change.Offset, data, random.Next(8) == 0 ? WriteFlags.ForceUnitAccess : WriteFlags.None, Token);
                break;
        }
    }

    private static async Task ChangeBitmapsAsync(Qcow2Node node, DiskModel model, Random random)
    {
        if (model.Bitmaps.Count < 3 && random.Next(2) == 0)
        {
            var (name, granularity) = ($"t{random.Next(1000)}", 512 << random.Next(12));
            model.History.Add($"add bitmap {name}, {granularity}");
            if (model.Bitmaps.TryAdd(name, new ModelBitmap(model.Bytes.Length, granularity)))
            {
                node.Bitmaps.Add(new DirtyBitmap(name, node.Length, granularity) { IsPersistent = true });
            }
        }
        else if (model.Bitmaps.Count > 0 && random.Next(2) == 0)
        {
            var (name, expected) = model.Bitmaps.ElementAt(random.Next(model.Bitmaps.Count));
            var bitmap = node.Bitmaps.Find(name)!;
            var action = random.Next(3);
            model.History.Add($"{(action == 0 ? "remove" : action == 1 ? "clear" : "toggle")} bitmap {name}");
            switch (action)
            {
                case 0:
                    await node.RemoveStoredBitmapAsync(name, Token);
                    node.Bitmaps.Remove(bitmap);
                    model.Bitmaps.Remove(name);
                    break;
                case 1:
                    bitmap.Clear();
                    expected.Clear();
                    break;
                default:
                    bitmap.IsRecording = expected.IsRecording = !expected.IsRecording;
                    break;
            }
        }
    }

    private async Task WithNodeAsync(bool readOnly, Func<Qcow2Node, Task> action)
    {
        await using var below = backing is null ? null : RawFileNode.Open("backing", backing, readOnly: true);
        await using var data = dataFile is null ? null : RawFileNode.Open("data", dataFile, readOnly);
        await using var file = RawFileNode.Open("file", path, readOnly);
        Qcow2OpenOptions options = new()
        {
            ReadOnly = readOnly, Backing = below, DataFile = data, DiscardNoUnref = kind.KeepsOnDiscard,
        };
        await using var node = await Qcow2Node.OpenAsync("a", file, options, Token);
        await action(node);
    }
}
