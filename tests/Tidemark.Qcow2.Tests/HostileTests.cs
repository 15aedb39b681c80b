using System.Buffers.Binary;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Checking;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests;

/// <summary>Damaged and malicious images: refused with a clear error, never misread, never a hang or a huge
/// allocation.</summary>
public sealed class HostileTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    // Offset in the header, bytes, value, a word of the message.
    public static TheoryData<int, int, ulong, string> Fields => new()
    {
        { 0, 4, 0, "magic" },
        { 4, 4, 1, "version 1" },
        { 4, 4, 4, "version 4" },
        { 8, 8, 1 << 20, "backing" },
        { 20, 4, 8, "cluster_bits" },
        { 20, 4, 22, "cluster_bits" },
        { 20, 4, 0xffffffff, "cluster_bits" },
        { 24, 8, 1UL << 62, "L1 table" },
        { 24, 8, ulong.MaxValue, "disk size" },
        { 32, 4, 1, "AES" },
        { 32, 4, 2, "LUKS" },
        { 36, 4, 0, "L1 table" },
        { 36, 4, 0x7fffffff, "L1 table" },
        { 36, 4, 0x00400000, "past the end" },
        { 40, 8, 0, "L1 table" },
        { 40, 8, 0x30001, "L1 table" },
        { 40, 8, 1UL << 50, "past the end" },
        { 40, 8, 1UL << 63, "L1 table" },
        { 48, 8, 0, "refcount table" },
        { 48, 8, 12345, "refcount table" },
        { 48, 8, 0x7fffffffffff0000, "past the end" },
        { 56, 4, 0, "no refcount table" },
        { 56, 4, 0xffffffff, "refcount table" },
        { 60, 4, 0xffffffff, "snapshots" },
        { 60, 4, 1, "snapshot table" },
        { 72, 8, 1UL << 2, "external data file" },
        { 72, 8, 1UL << 3, "compression type" },
        { 72, 8, 1UL << 4, "extended L2" },
        { 72, 8, 1UL << 40, "unknown incompatible feature 40" },
        { 96, 4, 7, "refcounts" },
        { 100, 4, 96, "header's length" },
        { 100, 4, 0xfffffff8, "header's length" },
        { 104, 1, 1, "compression type" },
        { 104, 1, 9, "compression type 9" },
        { 112, 4, 0x23852876, "header extension" },
    };

    [Theory]
    [MemberData(nameof(Fields))]
    public async Task AWrongFieldIsNamed(int offset, int length, ulong value, string word)
    {
        var bytes = await MakeImageAsync(withBitmap: false);
        Span<byte> field = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(field, value);
        field[(8 - length)..].CopyTo(bytes.AsSpan(offset));
        if (offset == 8)
        {
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(16), 100);
        }
        else if (offset == 112)
        {
            BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(116), 0xffffff00);
        }

        var exception = await Assert.ThrowsAsync<Qcow2Exception>(
            async () => await Qcow2Node.OpenAsync("a", new RecordingFile(bytes),
                new Qcow2OpenOptions { ReadOnly = true }, Token));
        Assert.Contains(word, exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnUnknownFeatureIsNamedFromTheTable()
    {
        var bytes = await MakeImageAsync(withBitmap: false);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(72), 1UL << 30);
        var table = bytes.AsSpan().IndexOf("dirty bit"u8) - 2;
        bytes[table + 1] = 30;
        "time travel\0"u8.CopyTo(bytes.AsSpan(table + 2));
        var exception = await Assert.ThrowsAsync<Qcow2Exception>(
            async () => await Qcow2Node.OpenAsync("a", new RecordingFile(bytes),
                new Qcow2OpenOptions { ReadOnly = true }, Token));
        Assert.Equal(BlockErrorKind.NotSupported, exception.Kind);
        Assert.Contains("time travel", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AnImageMarkedCorruptIsOnlyRead()
    {
        var bytes = await MakeImageAsync();
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(72), 2);
        var exception = await Assert.ThrowsAsync<Qcow2Exception>(
            async () => await Qcow2Node.OpenAsync("a", new RecordingFile(bytes), new Qcow2OpenOptions(), Token));
        Assert.Equal(BlockErrorKind.Corrupt, exception.Kind);
        Assert.Contains("marked corrupt", exception.Message, StringComparison.Ordinal);
        await using var node = await Qcow2Node.OpenAsync(
            "a", new RecordingFile(bytes), new Qcow2OpenOptions { ReadOnly = true }, Token);
        await node.ReadAsync(0, new byte[node.Length], Token);
    }

    [Fact]
    public async Task BitmapsThatAreNotThereLeaveTheDiskReadable()
    {
        var bytes = await MakeImageAsync(withBitmap: false);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(88), 1);
        var exception = await Assert.ThrowsAsync<Qcow2Exception>(
            async () => await Qcow2Node.OpenAsync("a", new RecordingFile(bytes), new Qcow2OpenOptions(), Token));
        Assert.Contains("bitmaps", exception.Message, StringComparison.Ordinal);
        await using (var node = await Qcow2Node.OpenAsync(
            "a", new RecordingFile(bytes), new Qcow2OpenOptions { ReadOnly = true }, Token))
        {
            Assert.Contains("bitmaps", node.BitmapProblem, StringComparison.Ordinal);
        }

        RecordingFile file = new(bytes);
        await using (await Qcow2Node.OpenAsync(
            "a", file, new Qcow2OpenOptions { BrokenBitmaps = BrokenBitmapPolicy.KeepAside }, Token))
        {
        }

        await using var mended = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
        Assert.Null(mended.BitmapProblem);
    }

    [Theory]
    [InlineData(0x0000000000000000UL, false)]
    [InlineData(0x8000000000000000UL, true)] // copied, but no cluster: unallocated
    [InlineData(0x8000000000000200UL, false)]
    [InlineData(0x8000010000000000UL, false)]
    [InlineData(0x80ffffffffffff00UL, false)]
    public async Task AWrongMappingIsNotFollowed(ulong entry, bool l1)
    {
        var bytes = await MakeImageAsync();
        var l1Offset = (int)BinaryPrimitives.ReadInt64BigEndian(bytes.AsSpan(40));
        var l2Offset = (int)(BinaryPrimitives.ReadInt64BigEndian(bytes.AsSpan(l1Offset)) & 0xffffffffff00);
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(l1 ? l1Offset : l2Offset), entry);
        await using var node = await Qcow2Node.OpenAsync("a", new RecordingFile(bytes), new Qcow2OpenOptions(), Token);
        var isHole = l1 || entry == 0;
        var buffer = new byte[4096];
        if (isHole)
        {
            await node.ReadAsync(0, buffer, Token);
            Assert.False(buffer.AsSpan().ContainsAnyExcept((byte)0));
            return;
        }

        var reading = await Assert.ThrowsAsync<Qcow2Exception>(async () => await node.ReadAsync(0, buffer, Token));
        Assert.Equal(BlockErrorKind.Corrupt, reading.Kind);
        await Assert.ThrowsAsync<Qcow2Exception>(async () =>
            await node.WriteAsync(0, buffer, cancellationToken: Token));
    }

    [Fact]
    public async Task DataIsNeverWrittenOverTheHeader()
    {
        var bytes = await MakeImageAsync();
        var l1Offset = (int)BinaryPrimitives.ReadInt64BigEndian(bytes.AsSpan(40));
        var l2Offset = (int)(BinaryPrimitives.ReadInt64BigEndian(bytes.AsSpan(l1Offset)) & 0xffffffffff00);
        foreach (var victim in new[] { l1Offset, (int)BinaryPrimitives.ReadInt64BigEndian(bytes.AsSpan(48)) })
        {
            BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(l2Offset), 0x8000000000000000UL | (uint)victim);
            RecordingFile file = new(bytes);
            var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
            var exception = await Assert.ThrowsAsync<Qcow2Exception>(
                async () => await node.WriteAsync(0, new byte[512], cancellationToken: Token));
            Assert.Contains("would overwrite", exception.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(16, "type")]
    [InlineData(17, "granularity")]
    [InlineData(12, "flags")]
    [InlineData(8, "table")]
    [InlineData(0, "table")]
    public async Task ABitmapThatCannotBeIsShownAndCanBeRemoved(int field, string word)
    {
        var bytes = await MakeImageAsync();
        bytes[DirectoryOf(bytes) + field] = 77;
        RecordingFile file = new(bytes);
        var listed = Assert.Single(await Qcow2Image.ReadBitmapsAsync(file, Token));
        Assert.Contains(word, listed.Problem, StringComparison.Ordinal);
        await using (var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token))
        {
            var bitmap = Assert.Single(node.Bitmaps);
            Assert.True(bitmap.IsInconsistent);
            await node.WriteAsync(0, new byte[512], cancellationToken: Token);
        }

        // Whoever knows what the field means must not take it for true after our write.
        listed = Assert.Single(await Qcow2Image.ReadBitmapsAsync(file, Token));
        Assert.True(listed.IsInUse);
        Assert.NotNull(listed.Problem);
        await using (var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token))
        {
            await node.RemoveStoredBitmapAsync(listed.Name, Token);
            node.Bitmaps.Remove(node.Bitmaps.Find(listed.Name)!);
        }

        Assert.Empty(await Qcow2Image.ReadBitmapsAsync(file, Token));
        Assert.Equal(0, (await Qcow2Check.RunAsync(file, Token)).Corruptions);
    }

    [Theory]
    [InlineData(BrokenBitmapPolicy.KeepAside)]
    [InlineData(BrokenBitmapPolicy.Drop)]
    public async Task ADirectoryThatCannotBeReadIsPutAsideIfWanted(BrokenBitmapPolicy policy)
    {
        var bytes = await MakeImageAsync();
        bytes[DirectoryOf(bytes) + 20] = 77;
        await Assert.ThrowsAsync<Qcow2Exception>(
            async () => await Qcow2Node.OpenAsync("a", new RecordingFile(bytes), new Qcow2OpenOptions(), Token));
        await using (var node = await Qcow2Node.OpenAsync(
            "a", new RecordingFile(bytes), new Qcow2OpenOptions { ReadOnly = true }, Token))
        {
            Assert.Empty(node.Bitmaps);
            Assert.Contains("extra data", node.BitmapProblem, StringComparison.Ordinal);
        }

        RecordingFile file = new(bytes);
        await using (await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions { BrokenBitmaps = policy }, Token))
        {
        }

        await using (await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token))
        {
        }

        var hasExtension = file.Content.AsSpan(0, 512).IndexOf((ReadOnlySpan<byte>)[0x23, 0x85, 0x28, 0x75]) > 0;
        Assert.Equal(policy == BrokenBitmapPolicy.KeepAside, hasExtension);
        var report = await Qcow2Check.RunAsync(
            file, new Qcow2CheckOptions { Repair = Qcow2Repair.Leaks }, Token);
        Assert.True(report.IsClean && report.LeaksFixed > 0);
    }

    private static int DirectoryOf(byte[] bytes)
    {
        var extension = bytes.AsSpan().IndexOf((ReadOnlySpan<byte>)[0x23, 0x85, 0x28, 0x75]);
        return (int)BinaryPrimitives.ReadInt64BigEndian(bytes.AsSpan(extension + 8 + 16));
    }

    [Fact]
    public Task RandomDamageGivesErrorsOnly() => TestSeed.RunAsync(async random =>
    {
        var whole = await MakeImageAsync();
        for (var round = 0; round < 300; round++)
        {
            var bytes = (byte[])whole.Clone();
            for (var count = 1 + random.Next(4); count > 0; count--)
            {
                // Metadata lies in the first clusters; the header gets the most.
                var at = random.Next(3) == 0 ? random.Next(200) : random.Next(bytes.Length);
                bytes[at] = random.Next(2) == 0 ? (byte)random.Next(256) : (byte)(bytes[at] ^ (1 << random.Next(8)));
            }

            try
            {
                RecordingFile file = new(bytes);
                await Qcow2Check.RunAsync(file, Token);
                var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions { WithoutBacking = true }, Token);
                if (node.Length > 10_000_000)
                {
                    continue;
                }

                var buffer = new byte[Math.Min(node.Length, 100_000)];
                await node.ReadAsync(0, buffer, Token);
                await node.GetBlockStatusAsync(0, node.Length, new ExtentList(), Token);
                await node.WriteAsync(0, buffer, WriteFlags.ForceUnitAccess, Token);
                await node.DiscardAsync(0, node.Length, Token);
                await node.DisposeAsync();
            }
            catch (BlockException exception)
            {
                Assert.NotEmpty(exception.Message);
            }
        }
    });

    private static async Task<byte[]> MakeImageAsync(bool withBitmap = true)
    {
        RecordingFile file = new();
        await Qcow2Image.CreateAsync(file, new Qcow2CreateOptions { Length = 200_000, ClusterSize = 4096 }, Token);
        await using (var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token))
        {
            await node.WriteAsync(0, Enumerable.Repeat((byte)1, 10_000).ToArray(), cancellationToken: Token);
            if (withBitmap)
            {
                node.Bitmaps.Add(new DirtyBitmap("b", node.Length) { IsPersistent = true });
            }
        }

        return file.Content;
    }
}
