using System.Buffers.Binary;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Qcow2.Checking;
using Xunit;

namespace Tidemark.Qcow2.Tests;

/// <summary>What a header holds that this program does not know: kept, or taken back, as the format says.</summary>
public sealed class HeaderTests
{
    private const int CompatibleAt = 80;
    private const int AutoclearAt = 88;
    private const int HeaderLengthAt = 100;
    private const ulong UnknownBit = 1UL << 40;
    private const ulong BitmapsBit = 1;
    private const int ClusterSize = 4096;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task AnUnknownAutoclearFeatureIsClearedBeforeTheFirstWrite()
    {
        var bytes = await MakeAsync();
        Write(bytes, AutoclearAt, BitmapsBit | UnknownBit);
        RecordingFile file = new(bytes);
        await using (var reader = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions { ReadOnly = true }, Token))
        {
            Assert.Single(reader.Bitmaps);
        }

        Assert.Equal(bytes, file.Content);
        file.StartRecording();
        await using (var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token))
        {
            // Durably: nothing stands between the change and the first write of a guest but a flush.
            Assert.Equal(BitmapsBit, Read(file.Content, AutoclearAt));
            Assert.Equal(FileEventKind.Flush, file.Events[^1].Kind);
            Assert.False(Assert.Single(node.Bitmaps).IsInconsistent);
        }

        Assert.Equal(BitmapsBit, Read(file.Content, AutoclearAt));
    }

    /// <summary>Somebody who does not know bitmaps has written to the disk, and has cleared their autoclear bit: they
    /// miss what he wrote, and may never be believed again.</summary>
    [Fact]
    public async Task BitmapsWithoutTheirAutoclearFeatureAreGoneForGood()
    {
        var bytes = await MakeAsync();
        Write(bytes, AutoclearAt, 0);
        RecordingFile file = new(bytes);
        await using (var reader = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions { ReadOnly = true }, Token))
        {
            Assert.Empty(reader.Bitmaps);
        }

        await using (var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token))
        {
            Assert.Empty(node.Bitmaps);
            await node.WriteAsync(0, new byte[100], cancellationToken: Token);
            node.Bitmaps.Add(new DirtyBitmap("new", node.Length) { IsPersistent = true });
        }

        Assert.Equal("new", Assert.Single(await Qcow2Image.ReadBitmapsAsync(file, Token)).Name);
        var report = await Qcow2Check.RunAsync(
            file, new Qcow2CheckOptions { Repair = Qcow2Repair.Leaks }, Token);
        Assert.True(report is { Corruptions: 0, CheckErrors: 0 }, string.Join("; ", report.Messages));
        Assert.True((await Qcow2Check.RunAsync(file, Token)).IsClean);
    }

    /// <summary>An extension, fields behind the known ones and a compatible feature, all unknown, outlive everything
    /// that rewrites the header.</summary>
    [Theory]
    [InlineData(20, 8)]
    [InlineData(200, 8)]
    [InlineData(1500, 24)]
    public async Task WhatIsNotKnownIsKept(int extensionLength, int fieldsLength)
    {
        var extension = Unknown(extensionLength, 0x70);
        var fields = Unknown(fieldsLength, 0x30);
        var bytes = WithUnknown(await MakeAsync(), extension, fields);
        Write(bytes, CompatibleAt, Read(bytes, CompatibleAt) | UnknownBit);
        RecordingFile file = new(bytes);
        await using (var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token))
        {
            Assert.Single(node.Bitmaps);
            await node.ResizeDiskAsync(8 << 20, cancellationToken: Token);
            node.Bitmaps.Add(new DirtyBitmap("another", node.Length) { IsPersistent = true });
            await node.FlushAsync(Token);
            await node.ChangeBackingFileAsync("/somewhere/base.raw", "raw", Token);
        }

        var after = file.Content;
        Assert.Equal(UnknownBit, Read(after, CompatibleAt) & UnknownBit);
        Assert.True(after.AsSpan(0, ClusterSize).IndexOf(extension) > 0, "the extension is lost");
        Assert.Equal(fields, after.AsSpan(112, fieldsLength).ToArray());
        Assert.Equal(112 + fieldsLength, BinaryPrimitives.ReadInt32BigEndian(after.AsSpan(HeaderLengthAt)));
        Assert.Equal(2, (await Qcow2Image.ReadBitmapsAsync(file, Token)).Count);
        var header = await Qcow2Image.ReadHeaderAsync(file, Token);
        Assert.Equal("/somewhere/base.raw", header.BackingFile);
        Assert.Equal(8 << 20, header.Length);
        Assert.True((await Qcow2Check.RunAsync(file, Token)).IsClean);
    }

    /// <summary>A table of the largest size is in memory once: not as bytes and as numbers at the same time, twice its
    /// size, as the fuzzer found it.</summary>
    [Fact]
    public async Task TheLargestTablesAreHeldOnce()
    {
        const int L1Length = 127 << 18, TableLength = 8 << 20, Rest = 3 << 20;
        RecordingFile file = new();
        await Qcow2Image.CreateAsync(
            file, new Qcow2CreateOptions { Length = 127L << 30, ClusterSize = 512 }, Token);
        var header = await Qcow2Image.ReadHeaderAsync(file, Token);
        Assert.Equal(L1Length / 8, header.L1EntryCount);
        Assert.InRange(await AllocatedByOpenAsync(file), L1Length, L1Length + TableLength + Rest);

        // The same with a refcount table of the largest size, which lies behind everything else.
        file = new RecordingFile();
        await Qcow2Image.CreateAsync(file, new Qcow2CreateOptions { Length = 1 << 20, ClusterSize = 512 }, Token);
        var small = file.Content;
        var bytes = new byte[small.Length + TableLength];
        small.CopyTo(bytes, 0);
        var table = (int)Read(small, 48);
        small.AsSpan(table, 512).CopyTo(bytes.AsSpan(small.Length));
        Write(bytes, 48, (ulong)small.Length);
        BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(56), TableLength / 512);
        Assert.InRange(await AllocatedByOpenAsync(new RecordingFile(bytes)), TableLength, TableLength + Rest);
    }

    // All of it happens on this thread: a file in memory answers at once.
    private static async Task<long> AllocatedByOpenAsync(RecordingFile file)
    {
        var before = GC.GetAllocatedBytesForCurrentThread();
        var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions { ReadOnly = true }, Token);
        var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        await node.DisposeAsync();
        return allocated;
    }

    private static async Task<byte[]> MakeAsync()
    {
        RecordingFile file = new();
        await Qcow2Image.CreateAsync(
            file, new Qcow2CreateOptions { Length = 1 << 20, ClusterSize = ClusterSize }, Token);
        await using (var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token))
        {
            node.Bitmaps.Add(new DirtyBitmap("b", node.Length) { IsPersistent = true });
            await node.WriteAsync(0, new byte[10_000], cancellationToken: Token);
        }

        return file.Content;
    }

    // Fields go between the known ones and the extensions, the extension before the others.
    private static byte[] WithUnknown(byte[] bytes, byte[] extension, byte[] fields)
    {
        const int KnownLength = 112;
        var result = (byte[])bytes.Clone();
        var padded = (extension.Length + 7) & ~7;
        var at = KnownLength + fields.Length;
        result.AsSpan(KnownLength, ClusterSize - KnownLength).Clear();
        fields.CopyTo(result, KnownLength);
        BinaryPrimitives.WriteInt32BigEndian(result.AsSpan(HeaderLengthAt), at);
        BinaryPrimitives.WriteUInt32BigEndian(result.AsSpan(at), 0x12345678);
        BinaryPrimitives.WriteInt32BigEndian(result.AsSpan(at + 4), extension.Length);
        extension.CopyTo(result, at + 8);
        at += 8 + padded;
        bytes.AsSpan(KnownLength, ClusterSize - at).CopyTo(result.AsSpan(at));
        return result;
    }

    private static byte[] Unknown(int length, byte first) =>
        [.. Enumerable.Range(0, length).Select(index => (byte)(first + (index % 29)))];

    private static ulong Read(byte[] bytes, int offset) => BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(offset));

    private static void Write(byte[] bytes, int offset, ulong value) =>
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(offset), value);
}
