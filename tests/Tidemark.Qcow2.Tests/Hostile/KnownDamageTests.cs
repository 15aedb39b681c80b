using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Checking;
using Tidemark.Testing.Images;
using Xunit;

namespace Tidemark.Qcow2.Tests.Hostile;

/// <summary>The damage that QEMU's driver met before us, case by case: docs/qcow2-hostile.md has the table.</summary>
public sealed class KnownDamageTests : IAsyncDisposable
{
    private const ulong Copied = 1UL << 63;

    private readonly BudgetFile _file = new("file", 16 << 20);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public ValueTask DisposeAsync() => _file.DisposeAsync();

    /// <summary>An L2 entry of the active image that names a table: a write in place would overwrite it.</summary>
    [Theory]
    [InlineData("L1 offset", "the L1 table")]
    [InlineData("refcount table offset", "the refcount table")]
    [InlineData("refcount table[0]", "a refcount block")]
    [InlineData("snapshot table offset", "the snapshot table")]
    [InlineData("snapshot 0: L1 offset", "the L1 table of a snapshot")]
    [InlineData("L1[0]", "an L2 table")]
    public async Task ADataClusterThatIsATableIsNotWritten(string victim, string table)
    {
        var sketch = Sketch();
        var bytes = sketch.File;
        var place = ImageSketch.Read(Field(sketch, bytes, victim)) & ~Copied;
        ImageSketch.Write(Field(bytes, FirstData(sketch, out var guest)), place | Copied);
        await using var node = await OpenAsync(bytes, readOnly: false);
        var before = Content(place, sketch.ClusterSize);
        var exception = await Assert.ThrowsAsync<Qcow2Exception>(async () =>
            await node.WriteAsync(guest * (long)sketch.ClusterSize, new byte[100], cancellationToken: Token));
        Assert.Equal(BlockErrorKind.Corrupt, exception.Kind);
        Assert.Contains(table, exception.Message, StringComparison.Ordinal);
        Assert.Equal(before, Content(place, sketch.ClusterSize));

        // Nor when the mapping is changed: freed, it must not be handed out.
        _ = await CatchAsync(() => node.DiscardAsync(0, node.Length, Token));
        _ = await CatchAsync(() => node.WriteAsync(0, new byte[20_000], cancellationToken: Token));
        _ = await CatchAsync(() => node.FlushAsync(Token));
        Assert.Equal(0x514649fbUL, ImageSketch.Read(_file.Content[..4]));
    }

    /// <summary>A table whose cluster is counted as free: an allocation must not be given it.</summary>
    [Theory]
    [InlineData(null, "the header")]
    [InlineData("L1 offset", "the L1 table")]
    [InlineData("refcount table offset", "the refcount table")]
    [InlineData("refcount table[0]", "a refcount block")]
    [InlineData("snapshot table offset", "the snapshot table")]
    [InlineData("snapshot 0: L1 offset", "the L1 table of a snapshot")]
    [InlineData("L1[0]", "an L2 table")]
    public async Task ATableThatIsCountedFreeIsNotHandedOut(string? victim, string table)
    {
        var sketch = Sketch();
        var bytes = sketch.File;
        var place = victim is null ? 0 : ImageSketch.Read(Field(sketch, bytes, victim)) & ~Copied;
        var block = (int)ImageSketch.Read(Field(sketch, bytes, "refcount table[0]"));
        ImageSketch.Write(bytes.AsSpan(block + ((int)place / sketch.ClusterSize * 2), 2), 0);
        await using var node = await OpenAsync(bytes, readOnly: false);
        var exception = await Assert.ThrowsAsync<Qcow2Exception>(async () =>
        {
            await node.WriteAsync(0, new byte[node.Length], cancellationToken: Token);
            await node.FlushAsync(Token);
        });
        Assert.Contains(table, exception.Message, StringComparison.Ordinal);
    }

    /// <summary>An L1 entry that names another table: an L2 table is never written over it.</summary>
    [Theory]
    [InlineData("L1 offset")]
    [InlineData("refcount table offset")]
    [InlineData("refcount table[0]")]
    [InlineData("snapshot 0: L1 offset")]
    public async Task AnL2TableThatIsAnotherTableIsNotWritten(string victim)
    {
        var sketch = Sketch();
        var bytes = sketch.File;
        var place = ImageSketch.Read(Field(sketch, bytes, victim)) & ~Copied;
        ImageSketch.Write(Field(sketch, bytes, "L1[0]"), place | Copied);
        var node = await OpenAsync(bytes, readOnly: false);
        var before = Content(place, sketch.ClusterSize);
        _ = await CatchAsync(() => node.WriteAsync(0, new byte[5000], cancellationToken: Token));
        _ = await CatchAsync(() => node.WriteZeroesAsync(0, 5000, cancellationToken: Token));
        _ = await CatchAsync(() => node.FlushAsync(Token));
        _ = await CatchAsync(() => node.DisposeAsync());
        Assert.Equal(before[..64], Content(place, 64));
        Assert.True((await Qcow2Check.RunAsync(Image(bytes), Token)).Corruptions > 0);
    }

    /// <summary>A data cluster that is an L2 table of a snapshot is found by a check, not by a write.</summary>
    [Fact]
    public async Task ADataClusterThatIsASnapshotsTableIsFoundByACheck()
    {
        var sketch = Sketch();
        var bytes = sketch.File;
        var snapshotL2 = ImageSketch.Read(Field(sketch, bytes, "snapshot L1[0]")) & ~Copied;
        ImageSketch.Write(Field(bytes, FirstData(sketch, out _)), snapshotL2 | Copied);
        var report = await Qcow2Check.RunAsync(Image(bytes), Token);
        Assert.True(report.Corruptions > 0);
    }

    [Theory]
    [InlineData("L1[0]", 0x8000_0000_0000_0601)]
    [InlineData("L1[0]", 0x8000_0000_0000_0700)]
    [InlineData("L1[0]", 0x80ff_ffff_ffff_fe00)]
    [InlineData("L1[0]", 0x8080_0000_0000_0000)]
    [InlineData("L2", 0x8000_0000_0000_0700)]
    [InlineData("L2", 0x8000_0000_0000_0302)]
    [InlineData("L2", 0x8080_0000_0000_0000)]
    [InlineData("L2", 0xbfff_ffff_ffff_0000)]
    [InlineData("L2", 0x8000_ffff_ffff_0000)]
    [InlineData("L2", 0x8000_0000_0000_2701)] // preallocated zero cluster, not aligned
    [InlineData("L2", 0x8080_0000_0000_1001)] // preallocated zero cluster, past the end
    [InlineData("L2", 0x7fff_ffff_ffff_fe00)] // compressed, past the end
    [InlineData("L2", 0x4000_0000_0000_0000)] // compressed, in the header
    public async Task AnEntryThatNamesNoClusterIsAnErrorForAllButTheRest(string entry, ulong value)
    {
        var sketch = Sketch(clusterBits: 10);
        var bytes = sketch.File;
        var field = entry == "L2" ? FirstData(sketch, out _) : sketch.Find(entry);
        ImageSketch.Write(Field(bytes, field), value);
        var length = _file.Length;
        var node = await OpenAsync(bytes, readOnly: false);
        length = Math.Max(length, _file.Length);
        var guest = entry == "L2" ? long.Parse(field.Name.Split(' ')[^1]) * sketch.ClusterSize : 0;
        var one = new byte[512];
        var reading = await CatchAsync(() => node.ReadAsync(guest, one, Token));
        Assert.IsType<Qcow2Exception>(reading);
        _ = await CatchAsync(() => node.GetBlockStatusAsync(guest, 512, new ExtentList(), Token));
        _ = await CatchAsync(() => node.WriteAsync(guest, one, cancellationToken: Token));
        _ = await CatchAsync(() => node.DiscardAsync(guest, sketch.ClusterSize, Token));
        _ = await CatchAsync(() => node.FlushAsync(Token));
        _ = await CatchAsync(() => node.DisposeAsync());
        Assert.True(_file.Length <= length + (32 << 20), $"the file grew to {_file.Length} bytes");
        Assert.True((await CheckAsync(Image(bytes))) > 0);
    }

    [Theory]
    [InlineData(0UL)]
    [InlineData(0x1UL)]
    [InlineData(0x300UL)]
    [InlineData(0x100_0000UL)]
    [InlineData(0x7fff_ffff_ffff_0000UL)]
    [InlineData(0xffff_ffff_ffff_0000UL)]
    public async Task AWrongRefcountTableEntryKeepsTheDiskReadable(ulong value)
    {
        var sketch = Sketch();
        var bytes = sketch.File;
        ImageSketch.Write(Field(sketch, bytes, "refcount table[0]"), value);
        await using (var reader = await OpenAsync(bytes, readOnly: true))
        {
            var disk = new byte[reader.Length];
            await reader.ReadAsync(0, disk, Token);
            Assert.Equal(sketch.Disk, disk);
        }

        var node = await OpenAsync(bytes, readOnly: false);
        var exception = await CatchAsync(() => node.WriteAsync(0, new byte[node.Length], cancellationToken: Token));
        Assert.IsType<Qcow2Exception>(exception);
        _ = await CatchAsync(() => node.DisposeAsync());
        Assert.Equal(0x514649fbUL, ImageSketch.Read(_file.Content[..4]));
        Assert.True(await CheckAsync(Image(bytes)) > 0);
    }

    /// <summary>All counts zero: the first allocation would be the header.</summary>
    [Fact]
    public async Task AnEmptyRefcountBlockHandsNothingOut()
    {
        var sketch = Sketch();
        var bytes = sketch.File;
        var block = (int)ImageSketch.Read(Field(sketch, bytes, "refcount table[0]"));
        bytes.AsSpan(block, sketch.ClusterSize).Clear();
        var node = await OpenAsync(bytes, readOnly: false);
        Assert.IsType<Qcow2Exception>(
            await CatchAsync(() => node.WriteAsync(0, new byte[node.Length], cancellationToken: Token)));
        _ = await CatchAsync(() => node.DisposeAsync());
        Assert.Equal(0x514649fbUL, ImageSketch.Read(_file.Content[..4]));
    }

    /// <summary>A compressed cluster whose length field lies: too short, and as long as it can be.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task ACompressedLengthThatLies(int compressionType)
    {
        var sketch = ImageSketch.Lay(new ImageSketchOptions
        {
            ClusterBits = 16, DiskLength = 1 << 20, CompressionType = compressionType, Seed = 3, Holes = 0,
        });
        var bytes = sketch.File;
        var field = sketch.Fields.First(f => f.Name.StartsWith("L2 of", StringComparison.Ordinal)
            && (ImageSketch.Read(bytes.AsSpan(f.Offset, 8)) >> 62) == 1);
        var guest = long.Parse(field.Name.Split(' ')[^1]) << 16;
        var entry = ImageSketch.Read(bytes.AsSpan(field.Offset, 8));
        const ulong Sectors = 0xffUL << 54;
        Assert.True((entry & Sectors) != 0);
        var expected = sketch.Disk.AsSpan((int)guest, 1 << 16).ToArray();
        var read = new byte[1 << 16];

        ImageSketch.Write(bytes.AsSpan(field.Offset, 8), entry | Sectors);
        await using (var node = await OpenAsync(bytes, readOnly: true))
        {
            // What follows the compressed bytes means nothing, also where the file ends.
            await node.ReadAsync(guest, read, Token);
            Assert.Equal(expected, read);
        }

        ImageSketch.Write(bytes.AsSpan(field.Offset, 8), entry & ~Sectors);
        await using (var node = await OpenAsync(bytes, readOnly: true))
        {
            Assert.IsType<Qcow2Exception>(await CatchAsync(() => node.ReadAsync(guest, read, Token)));
        }
    }

    /// <summary>Compressed bytes that unpack to more than a cluster: only a cluster is unpacked.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public async Task ACompressionBombGivesOneCluster(int compressionType)
    {
        var sketch = ImageSketch.Lay(new ImageSketchOptions
        {
            ClusterBits = 12, DiskLength = 400_384, CompressionType = compressionType, Seed = 3, Holes = 0,
        });
        var bomb = new byte[4 << 20];
        bomb.AsSpan().Fill(7);
        var packed = compressionType == 0 ? ImageSketch.Deflate(bomb) : ImageSketch.ZstdRaw(bomb);
        var bytes = sketch.File;
        var field = sketch.Fields.First(f => f.Name.StartsWith("compressed", StringComparison.Ordinal));
        var guest = long.Parse(field.Name.Split(' ')[^1]);
        packed.AsSpan(0, Math.Min(packed.Length, 4096)).CopyTo(bytes.AsSpan(field.Offset));
        await using var node = await OpenAsync(bytes, readOnly: true);
        var before = GC.GetAllocatedBytesForCurrentThread();
        var read = new byte[4096];
        var exception = await CatchAsync(() => node.ReadAsync(guest * 4096, read, Token));
        Assert.True(exception is null or Qcow2Exception, $"{exception}");
        Assert.True(exception is not null || !read.AsSpan().ContainsAnyExcept((byte)7));
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 8 << 20);
    }

    /// <summary>A cluster at 32 PiB: a check may not size its memory by that.</summary>
    [Fact]
    public async Task AClusterFarAwayDoesNotCostACheckMemory()
    {
        var sketch = Sketch();
        var bytes = sketch.File;
        ImageSketch.Write(Field(bytes, FirstData(sketch, out _)), 0x8080_0000_0000_0000);
        var before = GC.GetAllocatedBytesForCurrentThread();
        Assert.True(await CheckAsync(Image(bytes)) > 0);

        // The same with a file that is as long.
        var file = Image(bytes);
        file.SetLength(1L << 55);
        _ = await CatchAsync(async () => await Qcow2Check.RunAsync(file, Token));
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 64 << 20);
    }

    [Theory]
    [InlineData("snapshot 0: extra data length", 0xffff_ffff, "snapshot")]
    [InlineData("snapshot 0: extra data length", 64 << 20, "snapshot")]
    [InlineData("snapshots", 65537, "snapshots")]
    [InlineData("snapshots", 0xffff_ffff, "snapshots")]
    [InlineData("snapshot table offset", 0x1234_5678_90ab_cdef, "snapshot table")]
    [InlineData("snapshot table offset", 0xffff_ffff_ffff_0000, "snapshot table")]
    public async Task AnImpossibleSnapshotTableIsRefused(string name, ulong value, string word)
    {
        var sketch = Sketch();
        ImageSketch.Write(Field(sketch, sketch.File, name), value);
        var exception = await Assert.ThrowsAsync<Qcow2Exception>(async () => await OpenAsync(sketch.File, true));
        Assert.Contains(word, exception.Message, StringComparison.Ordinal);
    }

    /// <summary>Extra data of any length up to the table's limit is passed over.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(8)]
    [InlineData(42)]
    public async Task ExtraDataOfSnapshotsIsPassedOver(int length)
    {
        var sketch = ImageSketch.Lay(new ImageSketchOptions { Snapshots = 1, Seed = 4 });
        ImageSketch.Write(Field(sketch, sketch.File, "snapshot 0: extra data length"), (ulong)length);
        await using var node = await OpenAsync(sketch.File, readOnly: true);
        var disk = new byte[node.Length];
        await node.ReadAsync(0, disk, Token);
        Assert.Equal(sketch.Disk, disk);
    }

    /// <summary>261: a snapshot without the extra data that version 3 asks for is told by a check, with QEMU's words;
    /// a version 2 image needs none. It keeps nobody from writing, after a crash with lazy refcounts neither.</summary>
    [Theory]
    [InlineData(3, 0, true)]
    [InlineData(3, 8, true)]
    [InlineData(3, 16, false)]
    [InlineData(2, 0, false)]
    public async Task ASnapshotWithoutItsExtraDataIsTold(int version, int length, bool isTold)
    {
        var sketch = ImageSketch.Lay(new ImageSketchOptions
        {
            Snapshots = 1, Seed = 4, Version = version, HasLazyRefcounts = version == 3,
        });
        var bytes = sketch.File;
        ImageSketch.Write(Field(sketch, bytes, "snapshot 0: extra data length"), (ulong)length);
        if (version == 3)
        {
            bytes[79] |= 1; // dirty
        }

        _file.Reset(bytes, bytes.Length);
        var report = await Qcow2Check.RunAsync(_file, Token);
        Assert.Equal(isTold ? 1 : 0, report.Corruptions);
        Assert.Equal(isTold, report.Messages.Contains("ERROR snapshot table entry 0 is incomplete"));
        await using (var node = await Qcow2Node.OpenAsync("a", _file, new Qcow2OpenOptions(), Token))
        {
            await node.WriteAsync(0, new byte[700], cancellationToken: Token);
        }

        Assert.Equal(isTold ? 1 : 0, (await Qcow2Check.RunAsync(_file, Token)).Corruptions);
    }

    /// <summary>Bitmap directories and tables that are larger than they may be, or lie elsewhere.</summary>
    [Theory]
    [InlineData("bitmaps", 65536)]
    [InlineData("bitmaps", 0)]
    [InlineData("bitmaps", 3)]
    [InlineData("bitmap directory length", 0)]
    [InlineData("bitmap directory length", 65 << 20)]
    [InlineData("bitmap directory length", 40)]
    [InlineData("bitmap directory offset", 0)]
    [InlineData("bitmap directory offset", 0x7fff_ffff_ffff_fe00)]
    [InlineData("bitmap 0: table entries", 0xffff_ffff)]
    [InlineData("bitmap 0: table entries", 0x0800_0000)]
    [InlineData("bitmap 0: table offset", 1)]
    [InlineData("bitmap 0: granularity bits", 8)]
    [InlineData("bitmap 0: granularity bits", 32)]
    [InlineData("bitmap 0: name length", 0)]
    [InlineData("bitmap 0: name length", 0xffff)]
    [InlineData("bitmap 0: extra data length", 0xffff_ffff)]
    [InlineData("bitmap 0: flags", 0xff)]
    public async Task AnImpossibleBitmapDirectoryDoesNotHideTheDisk(string name, ulong value)
    {
        var sketch = ImageSketch.Lay(new ImageSketchOptions { Bitmaps = 2, Seed = 4 });

        // The first image of a thread takes a buffer from the pool that the next ones use again: not this one's doing.
        await (await OpenAsync(sketch.File, readOnly: true)).DisposeAsync();
        ImageSketch.Write(Field(sketch, sketch.File, name), value);
        var before = GC.GetAllocatedBytesForCurrentThread();
        Qcow2Node? node = null;
        var exception = await CatchAsync(async () => node = await OpenAsync(sketch.File, readOnly: true));
        Assert.True(exception is null or Qcow2Exception, $"{exception}");
        if (node is not null)
        {
            var disk = new byte[node.Length];
            await node.ReadAsync(0, disk, Token);
            Assert.Equal(sketch.Disk, disk);
            Assert.True(node.BitmapProblem is not null || node.StoredBitmaps.Any(one => one.Problem is not null));
            await node.DisposeAsync();
        }

        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 1 << 20);
    }

    /// <summary>A table entry of a bitmap that names no cluster: only that bitmap is inconsistent.</summary>
    [Theory]
    [InlineData(2UL)]
    [InlineData(0x0100_0000_0000_0000UL)]
    [InlineData(0x00ff_ffff_ffff_fe00UL)]
    public async Task AWrongBitmapTableCostsThatBitmapOnly(ulong value)
    {
        var sketch = ImageSketch.Lay(new ImageSketchOptions { Bitmaps = 2, Seed = 4 });
        ImageSketch.Write(Field(sketch, sketch.File, "bitmap 0: table[0]"), value);
        await using var node = await OpenAsync(sketch.File, readOnly: true);
        DirtyBitmap[] bitmaps = [.. node.Bitmaps];
        Assert.Equal([true, false], bitmaps.OrderBy(bitmap => bitmap.Name).Select(bitmap => bitmap.IsInconsistent));
    }

    private static ImageSketch Sketch(int clusterBits = 9) => ImageSketch.Lay(
        new ImageSketchOptions { ClusterBits = clusterBits, Snapshots = 1, Seed = 11, DiskLength = 80_896 });

    private static Span<byte> Field(ImageSketch sketch, byte[] bytes, string name)
    {
        return Field(bytes, sketch.Find(name));
    }

    private static Span<byte> Field(byte[] bytes, ImageField field) => bytes.AsSpan(field.Offset, field.Size);

    // The L2 entry of a plain data cluster of the active image, which is laid after the snapshots.
    private static ImageField FirstData(ImageSketch sketch, out int guest)
    {
        var l2 = (int)(ImageSketch.Read(Field(sketch, sketch.File, "L1[0]")) & ~Copied);
        var field = sketch.Fields.First(f => f.Offset >= l2 && f.Name.StartsWith("L2 of", StringComparison.Ordinal)
            && ImageSketch.Read(sketch.File.AsSpan(f.Offset, 8)) is var entry
            && entry >> 62 == 2 && (entry & 1) == 0);
        guest = int.Parse(field.Name.Split(' ')[^1]);
        return field;
    }

    private BudgetFile Image(byte[] bytes)
    {
        _file.Reset(bytes, bytes.Length);
        return _file;
    }

    private async Task<Qcow2Node> OpenAsync(byte[] bytes, bool readOnly) => await Qcow2Node.OpenAsync(
        "a", Image(bytes), new Qcow2OpenOptions { ReadOnly = readOnly, GrowthStep = 4096 }, Token);

    private byte[] Content(ulong offset, int length) => _file.Content.Slice((int)offset, length).ToArray();

    // Corruptions that a check finds; a check that cannot go on has found one.
    private static async Task<int> CheckAsync(BlockNode file)
    {
        try
        {
            return (await Qcow2Check.RunAsync(file, Token)).Corruptions;
        }
        catch (Qcow2Exception exception) when (exception.Kind == BlockErrorKind.Corrupt)
        {
            return 1;
        }
    }

    private static async Task<Exception?> CatchAsync(Func<ValueTask> action) =>
        await Record.ExceptionAsync(async () => await action());
}
