using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Checking;
using Tidemark.Testing;
using Tidemark.Testing.Images;
using Xunit;

namespace Tidemark.Qcow2.Tests.Hostile;

/// <summary>More of what QEMU's driver met before us: repairs (108), emptying that fails (098), data files (244) and
/// bitmaps of a disk that changes its size (246). docs/qcow2-hostile.md has the table.</summary>
public sealed class KnownCaseTests : IAsyncDisposable
{
    private const ulong Copied = 1UL << 63;

    private readonly BudgetFile _file = new("file", 64 << 20);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public ValueTask DisposeAsync() => _file.DisposeAsync();

    /// <summary>108: no refcount table; a block that is not there, not aligned, or past the end of the file.</summary>
    [Theory]
    [InlineData("refcount table offset", 0UL)]
    [InlineData("refcount table[0]", 0UL)]
    [InlineData("refcount table[0]", 0x1UL)]
    [InlineData("refcount table[0]", 0x300UL)]
    [InlineData("refcount table[0]", 0x100_0000UL)]
    [InlineData("refcount table[0]", 0x7fff_ffff_ffff_fe00UL)]
    [InlineData("refcount table[0]", 0xffff_ffff_ffff_fe00UL)]
    public async Task RefcountsThatAreLostAreMadeAnew(string field, ulong value)
    {
        var sketch = Sketch();
        ImageSketch.Write(Field(sketch, field), value);
        if (field == "refcount table offset")
        {
            ImageSketch.Write(sketch.File.AsSpan(56, 4), 0);
            await Assert.ThrowsAsync<Qcow2Exception>(async () => await OpenAsync(sketch, readOnly: true));
        }

        await AssertRepairedAsync(sketch);
    }

    /// <summary>A table so far out that its end is past the largest number: a check added up to below zero.</summary>
    [Theory]
    [InlineData("L1 offset", 0x7fff_ffff_ffff_0000UL)]
    [InlineData("L1 offset", 0x0100_0000_0000_0000UL)]
    [InlineData("refcount table offset", 0x7fff_ffff_ffff_0000UL)]
    [InlineData("snapshot table offset", 0x7fff_ffff_ffff_0000UL)]
    public async Task ATablePastTheLastClusterThereCanBeIsRefused(string field, ulong value)
    {
        var sketch = Sketch();
        ImageSketch.Write(Field(sketch, field), value);
        ImageSketch.Write(sketch.File.AsSpan(36, 4), 0x10_0001);
        _file.Reset(sketch.File, sketch.File.Length);
        foreach (var action in (Func<Task>[])[
            async () => await OpenAsync(sketch, readOnly: true),
            async () => await Qcow2Check.RunAsync(_file, Token)])
        {
            var refusal = await Assert.ThrowsAsync<Qcow2Exception>(action);
            Assert.Contains($"0x{value:x}", refusal.Message, StringComparison.Ordinal);
        }
    }

    /// <summary>108: clusters behind everything that is counted, where the next refcount block would lie: it must not
    /// be put onto them, and they must be counted.</summary>
    [Fact]
    public async Task AClusterWhereTheNextRefcountBlockWouldLieIsNotOverwritten()
    {
        var sketch = Sketch();
        var field = FirstData(sketch);
        var from = (int)(ImageSketch.Read(sketch.File.AsSpan(field.Offset, 8)) & ~Copied);

        // A block counts 256 clusters of 512 bytes in 16 bits: the 257th is the first of the next range.
        const int Far = 256 * 512;
        var bytes = new byte[Far + 512];
        sketch.File.CopyTo(bytes, 0);
        sketch.File.AsSpan(from, 512).CopyTo(bytes.AsSpan(Far));
        ImageSketch.Write(bytes.AsSpan(field.Offset, 8), Far | Copied);
        _file.Reset(bytes, bytes.Length);
        var report = await Qcow2Check.RunAsync(_file, Token);
        Assert.Contains(report.Messages, message => message.Contains("cluster 256 ", StringComparison.Ordinal));
        await AssertRepairedAsync(sketch, bytes);
    }

    /// <summary>098: emptying fails anywhere; the image then holds each byte as it was, or shows the backing file, and
    /// a check finds at most leaks.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public async Task AnEmptyingThatFailsHarmsNothing(int seed)
    {
        var failed = 0;
        for (var round = 0; round < 40; round++)
        {
            var sketch = ImageSketch.Lay(new ImageSketchOptions { Seed = (seed * 100) + round, Bitmaps = 1 });
            _file.Reset(sketch.File, sketch.File.Length);
            FaultNode fault = new("fault", _file, round) { WritesHalf = false };
            var options = new Qcow2OpenOptions { GrowthStep = 4096 };
            var node = await Qcow2Node.OpenAsync("a", fault, options, Token);
            DirtyBitmap bitmap = new("b", node.Length);
            node.Bitmaps.Add(bitmap);
            fault.WriteFailurePercent = 40;
            fault.FailFlush = round % 4 == 0;
            var failure = await Record.ExceptionAsync(async () => await node.MakeEmptyAsync(cancellationToken: Token));
            failed += failure is BlockException ? 1 : 0;
            Assert.True(failure is null or BlockException, failure?.ToString());
            Assert.Equal(bitmap.GranuleCount, bitmap.DirtyGranules);

            // The process dies here. The node is not closed.
            await AssertOldOrEmptyAsync(sketch);

            // Or it goes on, on a disk that works again.
            fault.WriteFailurePercent = 0;
            fault.FailFlush = false;
            await node.MakeEmptyAsync(cancellationToken: Token);
            await node.DisposeAsync();
            await using var again = await OpenFileAsync(readOnly: true);
            var read = new byte[again.Length];
            await again.ReadAsync(0, read, Token);
            Assert.Equal(-1, read.AsSpan().IndexOfAnyExcept((byte)0));
            Assert.True((await Qcow2Check.RunAsync(_file, Token)).Corruptions == 0);
        }

        Assert.True(failed > 5, $"only {failed} failed");
    }

    /// <summary>244: an image with an external data file in which a guest cluster lies elsewhere than at its own place
    /// of the data file, or that says it is compressed.</summary>
    [Theory]
    [InlineData(0x8000_0000_0000_0200UL, "another place")]
    [InlineData(0x8000_0000_7fff_fe00UL, "another place")]
    [InlineData(0x4000_0000_0000_0200UL, "compressed")]
    public async Task AClusterOfADataFileHasOnePlace(ulong entry, string word)
    {
        var sketch = ImageSketch.Lay(new ImageSketchOptions { DataFile = "data.raw", Holes = 0, Seed = 3 });
        var field = sketch.Fields.First(f => f.Name == "L2 of guest cluster 0");
        ImageSketch.Write(sketch.File.AsSpan(field.Offset, 8), entry);
        _file.Reset(sketch.File, sketch.File.Length);
        await using var data = new MemoryNode("data", sketch.Data);
        await using var node = await Qcow2Node.OpenAsync(
            "a", _file, new Qcow2OpenOptions { ReadOnly = true, DataFile = data }, Token);
        var exception = await Assert.ThrowsAsync<Qcow2Exception>(
            async () => await node.ReadAsync(0, new byte[512], Token));
        Assert.Contains(word, exception.Message, StringComparison.Ordinal);
    }

    /// <summary>246: a disk is not resized while one of its bitmaps is inconsistent, whose bits nobody could resize;
    /// without it the others follow.</summary>
    [Fact]
    public async Task ABitmapThatCannotFollowKeepsTheSize()
    {
        var sketch = ImageSketch.Lay(new ImageSketchOptions { Bitmaps = 2, Seed = 4 });
        ImageSketch.Write(Field(sketch, "bitmap 0: flags"), 3);
        await using (var node = await OpenAsync(sketch, readOnly: false))
        {
            var before = node.Length;
            await Assert.ThrowsAsync<BlockException>(
                async () => await node.ResizeDiskAsync(before * 4, cancellationToken: Token));
            Assert.Equal(before, node.Length);
            var bad = node.Bitmaps.First(bitmap => bitmap.IsInconsistent);
            node.Bitmaps.Remove(bad);
            await node.RemoveStoredBitmapAsync(bad.Name!, Token);
            await node.ResizeDiskAsync(before * 4, cancellationToken: Token);
            await node.WriteAsync((before * 4) - 512, new byte[512], cancellationToken: Token);
        }

        await using var again = await OpenFileAsync(readOnly: true);
        var left = Assert.Single(again.Bitmaps);
        Assert.Equal(again.Length, left.Length);
        Assert.True(left.Get(again.Length - 512));
        Assert.True((await Qcow2Check.RunAsync(_file, Token)).IsClean);
    }

    private async Task AssertRepairedAsync(ImageSketch sketch, byte[]? bytes = null)
    {
        bytes ??= sketch.File;
        _file.Reset(bytes, bytes.Length);
        var report = await Qcow2Check.RunAsync(_file, new Qcow2CheckOptions { Repair = Qcow2Repair.All }, Token);
        Assert.True(report.Corruptions == 0 && report.CheckErrors == 0, string.Join("; ", report.Messages));
        Assert.True(report.CorruptionsFixed > 0);
        var after = await Qcow2Check.RunAsync(_file, Token);
        Assert.True(after.IsClean, string.Join("; ", after.Messages));
        await using (var node = await OpenFileAsync(readOnly: false))
        {
            var read = new byte[node.Length];
            await node.ReadAsync(0, read, Token);
            Assert.Equal(sketch.Disk, read);
            await node.WriteAsync(0, read, cancellationToken: Token);
        }

        Assert.True((await Qcow2Check.RunAsync(_file, Token)).IsClean);
    }

    private async Task AssertOldOrEmptyAsync(ImageSketch sketch)
    {
        BudgetFile copy = new("copy", 64 << 20);
        copy.Reset(_file.Content, _file.Length);
        var report = await Qcow2Check.RunAsync(copy, Token);
        Assert.True(report.Corruptions == 0, string.Join("; ", report.Messages));
        await using var node = await Qcow2Node.OpenAsync("a", copy, new Qcow2OpenOptions { ReadOnly = true }, Token);
        var read = new byte[node.Length];
        await node.ReadAsync(0, read, Token);
        for (var at = 0; at < read.Length; at++)
        {
            Assert.True(read[at] == sketch.Disk[at] || read[at] == 0, $"at {at}");
        }
    }

    private static ImageSketch Sketch() => ImageSketch.Lay(
        new ImageSketchOptions { Snapshots = 1, Seed = 11, DiskLength = 40_448 });

    private static Span<byte> Field(ImageSketch sketch, string name) =>
        sketch.Find(name) is var field ? sketch.File.AsSpan(field.Offset, field.Size) : default;

    private static ImageField FirstData(ImageSketch sketch)
    {
        var l2 = (int)(ImageSketch.Read(Field(sketch, "L1[0]")) & ~Copied);
        return sketch.Fields.First(field => field.Offset >= l2
            && field.Name.StartsWith("L2 of", StringComparison.Ordinal)
            && ImageSketch.Read(sketch.File.AsSpan(field.Offset, 8)) is var entry
            && entry >> 62 == 2 && (entry & 1) == 0);
    }

    private Task<Qcow2Node> OpenAsync(ImageSketch sketch, bool readOnly)
    {
        _file.Reset(sketch.File, sketch.File.Length);
        return OpenFileAsync(readOnly);
    }

    private async Task<Qcow2Node> OpenFileAsync(bool readOnly) => await Qcow2Node.OpenAsync(
        "a", _file, new Qcow2OpenOptions { ReadOnly = readOnly, GrowthStep = 4096 }, Token);
}
