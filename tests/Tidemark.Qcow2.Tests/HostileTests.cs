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
        { 88, 8, 1, "bitmaps" },
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
        var bytes = await MakeImageAsync();
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

    [Theory]
    [InlineData(1UL, BlockErrorKind.NotSupported, "lazy refcounts")]
    [InlineData(2UL, BlockErrorKind.Corrupt, "marked corrupt")]
    public async Task AnUncleanImageIsOnlyRead(ulong bit, BlockErrorKind kind, string word)
    {
        var bytes = await MakeImageAsync();
        BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(72), bit);
        var exception = await Assert.ThrowsAsync<Qcow2Exception>(
            async () => await Qcow2Node.OpenAsync("a", new RecordingFile(bytes), new Qcow2OpenOptions(), Token));
        Assert.Equal(kind, exception.Kind);
        Assert.Contains(word, exception.Message, StringComparison.Ordinal);
        await using var node = await Qcow2Node.OpenAsync(
            "a", new RecordingFile(bytes), new Qcow2OpenOptions { ReadOnly = true }, Token);
        await node.ReadAsync(0, new byte[node.Length], Token);
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

    [Fact]
    public async Task ADamagedBitmapDirectoryRefusesWritingAndAllowsReading()
    {
        var bytes = await MakeImageAsync();
        var extension = bytes.AsSpan().IndexOf((ReadOnlySpan<byte>)[0x23, 0x85, 0x28, 0x75]);
        var directory = (int)BinaryPrimitives.ReadInt64BigEndian(bytes.AsSpan(extension + 8 + 16));
        bytes[directory + 16] = 7;
        var exception = await Assert.ThrowsAsync<Qcow2Exception>(
            async () => await Qcow2Node.OpenAsync("a", new RecordingFile(bytes), new Qcow2OpenOptions(), Token));
        Assert.Contains("type", exception.Message, StringComparison.Ordinal);
        await using var node = await Qcow2Node.OpenAsync(
            "a", new RecordingFile(bytes), new Qcow2OpenOptions { ReadOnly = true }, Token);
        Assert.Empty(node.Bitmaps);
        Assert.Contains("type", node.BitmapProblem, StringComparison.Ordinal);
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
