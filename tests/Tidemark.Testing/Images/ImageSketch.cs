using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;

namespace Tidemark.Testing.Images;

/// <summary>
/// A qcow2 image laid by hand from the format's description (docs/interop/qcow2), with no code of the driver under
/// test, and with the place of every field known. What the driver cannot write yet, or never writes, can be sketched.
/// </summary>
/// <remarks>The image is consistent: every cluster is counted as often as it is used. Clusters are handed out one after
/// the other; the header is cluster 0.</remarks>
public sealed class ImageSketch
{
    private const ulong Copied = 1UL << 63;

    private readonly ImageSketchOptions _options;
    private readonly Random _random;
    private readonly List<ImageField> _fields = [];
    private readonly Dictionary<int, int> _uses = [];
    private byte[] _bytes = new byte[4096];
    private int _clusters;

    private ImageSketch(ImageSketchOptions options)
    {
        _options = options;
        _random = new Random(options.Seed);
        Disk = new byte[options.DiskLength];
        Data = options.HasDataFile ? new byte[options.DiskLength] : [];
    }

    /// <summary>The file.</summary>
    public byte[] File { get; private set; } = [];

    /// <summary>What the image's external data file holds; empty without one.</summary>
    public byte[] Data { get; }

    /// <summary>What the disk holds where it has no backing file; others than its own are zero here.</summary>
    public byte[] Disk { get; }

    /// <summary>Every field that was laid.</summary>
    public IReadOnlyList<ImageField> Fields => _fields;

    /// <summary>Bytes in a cluster.</summary>
    public int ClusterSize => 1 << _options.ClusterBits;

    public ImageSketchOptions Options => _options;

    /// <summary>Lays an image.</summary>
    public static ImageSketch Lay(ImageSketchOptions options)
    {
        ImageSketch sketch = new(options);
        sketch.LayAll();
        return sketch;
    }

    /// <summary>The field of a name.</summary>
    public ImageField Find(string name) => _fields.First(field => field.Name == name);

    private int EntrySize => _options.HasExtendedL2 ? 16 : 8;

    private int GuestClusters => (int)((_options.DiskLength + ClusterSize - 1) >> _options.ClusterBits);

    private void LayAll()
    {
        Take(1);
        var snapshots = Enumerable.Range(0, _options.Snapshots).Select(_ => LayMapping("snapshot L1")).ToArray();
        Array.Clear(Disk);
        var (l1Offset, l1Count) = LayMapping("L1");
        var snapshotTable = LaySnapshots(snapshots);
        var (directory, directoryLength) = LayBitmaps();
        var (tableOffset, tableClusters) = LayRefcounts();
        LayHeader(l1Offset, l1Count, snapshotTable, tableOffset, tableClusters, directory, directoryLength);
        File = _bytes.AsSpan(0, _clusters * ClusterSize).ToArray();
    }

    // Clusters one after the other, each used once so far; returns the offset.
    private uint Take(int count)
    {
        var first = _clusters;
        _clusters += count;
        if (_clusters * ClusterSize > _bytes.Length)
        {
            Array.Resize(ref _bytes, Math.Max(_bytes.Length * 2, _clusters * ClusterSize));
        }

        for (var step = 0; step < count; step++)
        {
            _uses[first + step] = 1;
        }

        return (uint)(first * ClusterSize);
    }

    private (int Offset, int Count) LayMapping(string name)
    {
        var perTable = ClusterSize / EntrySize;
        var count = Math.Max(1, (GuestClusters + perTable - 1) / perTable);
        var l1 = (int)Take(((count * 8) + ClusterSize - 1) / ClusterSize);
        for (var index = 0; index < count; index++)
        {
            var first = index * perTable;
            var entry = _random.Next(5) == 0 && count > 1 ? 0 : LayL2(first, perTable) | Copied;
            Put(l1 + (index * 8), 8, entry, ImageFieldKind.Entry, $"{name}[{index}]");
        }

        return (l1, count);
    }

    private uint LayL2(int firstGuest, int perTable)
    {
        var l2 = (int)Take(1);
        for (var index = 0; index < perTable && firstGuest + index < GuestClusters; index++)
        {
            var (entry, bitmap) = LayCluster(firstGuest + index);
            Put(l2 + (index * EntrySize), 8, entry, ImageFieldKind.Entry, $"L2 of guest cluster {firstGuest + index}");
            if (_options.HasExtendedL2)
            {
                Put(l2 + (index * EntrySize) + 8, 8, bitmap, ImageFieldKind.Flags,
                    $"subclusters of guest cluster {firstGuest + index}");
            }
        }

        return (uint)l2;
    }

    private (ulong Entry, ulong Bitmap) LayCluster(int guest)
    {
        if (_random.Next(10) < _options.Holes)
        {
            return (0, 0);
        }

        switch (_random.Next(6))
        {
            case 0 when _options.Version >= 3:
                return _options.HasExtendedL2 ? (0UL, 0xffff_ffffUL << 32) : (1UL, 0UL);
            case 1 when _options.Version >= 3 && !_options.HasExtendedL2 && !_options.HasDataFile:
                return (Take(1) | Copied | 1, 0);
            case 2 when !_options.HasDataFile:
                return (LayCompressed(guest), 0);
            case 3 when _options.HasExtendedL2:
                return LaySubclusters(guest);
            default:
                return (LayData(guest), _options.HasExtendedL2 ? 0xffff_ffffUL : 0);
        }
    }

    private ulong LayData(int guest)
    {
        var content = GuestBytes(guest);
        _random.NextBytes(content);
        if (_options.HasDataFile)
        {
            content.CopyTo(Data.AsSpan((int)((long)guest << _options.ClusterBits)));
            return ((ulong)(uint)guest << _options.ClusterBits) | Copied;
        }

        var host = Take(1);
        content.CopyTo(_bytes.AsSpan((int)host));
        return host | Copied;
    }

    // The lower half allocated, the next quarter zero, the rest not there.
    private (ulong Entry, ulong Bitmap) LaySubclusters(int guest)
    {
        var entry = LayData(guest);
        var content = GuestBytes(guest);
        content[Math.Min(content.Length, ClusterSize / 2)..].Clear();
        return (entry, 0x0000_ffffUL | (0x00ff_0000UL << 32));
    }

    private ulong LayCompressed(int guest)
    {
        var plain = new byte[ClusterSize];
        plain.AsSpan().Fill((byte)_random.Next(256));
        _random.NextBytes(plain.AsSpan(0, ClusterSize / 8));
        var content = GuestBytes(guest);
        plain.AsSpan(0, content.Length).CopyTo(content);
        var packed = _options.CompressionType == 0 ? Deflate(plain) : ZstdRaw(plain);
        var host = Take((packed.Length + ClusterSize - 1) / ClusterSize);
        packed.CopyTo(_bytes, host);
        _fields.Add(
            new ImageField((int)host, packed.Length, ImageFieldKind.Bytes, $"compressed guest cluster {guest}"));
        var sectors = (uint)((packed.Length + 511) / 512) - 1;
        return host | ((ulong)sectors << (62 - (_options.ClusterBits - 8))) | (1UL << 62);
    }

    private Span<byte> GuestBytes(int guest)
    {
        var start = (long)guest << _options.ClusterBits;
        return Disk.AsSpan((int)start, (int)Math.Min(ClusterSize, _options.DiskLength - start));
    }

    /// <summary>Bytes as a raw deflate stream.</summary>
    public static byte[] Deflate(ReadOnlySpan<byte> plain)
    {
        using MemoryStream output = new();
        using (DeflateStream deflate = new(output, CompressionLevel.Fastest, leaveOpen: true))
        {
            deflate.Write(plain);
        }

        return output.ToArray();
    }

    /// <summary>Bytes as one zstd frame whose blocks are not compressed, but for the last, a run of one byte.</summary>
    public static byte[] ZstdRaw(ReadOnlySpan<byte> plain)
    {
        var tail = plain.Length;
        while (tail > 0 && plain[tail - 1] == plain[^1])
        {
            tail--;
        }

        using MemoryStream output = new();
        Span<byte> head = stackalloc byte[4];

        // Magic; a single segment with a content size of four bytes.
        output.Write([0x28, 0xb5, 0x2f, 0xfd, 0xa0]);
        BinaryPrimitives.WriteInt32LittleEndian(head, plain.Length);
        output.Write(head);
        for (var at = 0; at < tail;)
        {
            var part = Math.Min(tail - at, 100_000);
            BinaryPrimitives.WriteInt32LittleEndian(head, (part << 3) | (at + part == plain.Length ? 1 : 0));
            output.Write(head[..3]);
            output.Write(plain.Slice(at, part));
            at += part;
        }

        for (var at = tail; at < plain.Length;)
        {
            var part = Math.Min(plain.Length - at, 100_000);
            BinaryPrimitives.WriteInt32LittleEndian(head, (part << 3) | 2 | (at + part == plain.Length ? 1 : 0));
            output.Write(head[..3]);
            output.WriteByte(plain[^1]);
            at += part;
        }

        return output.ToArray();
    }

    private int LaySnapshots((int Offset, int Count)[] snapshots)
    {
        if (snapshots.Length == 0)
        {
            return 0;
        }

        const int Fixed = 40, Extra = 16, Names = 3;
        const int Entry = (Fixed + Extra + Names + 7) & ~7;
        var table = (int)Take(((snapshots.Length * Entry) + ClusterSize - 1) / ClusterSize);
        for (var index = 0; index < snapshots.Length; index++)
        {
            var at = table + (index * Entry);
            var name = $"snapshot {index}";
            Put(at, 8, (ulong)snapshots[index].Offset, ImageFieldKind.Offset, $"{name}: L1 offset");
            Put(at + 8, 4, (ulong)snapshots[index].Count, ImageFieldKind.Count, $"{name}: L1 entries");
            Put(at + 12, 2, 1, ImageFieldKind.Count, $"{name}: id length");
            Put(at + 14, 2, 2, ImageFieldKind.Count, $"{name}: name length");
            Put(at + 32, 4, 0, ImageFieldKind.Count, $"{name}: state length");
            Put(at + 36, 4, Extra, ImageFieldKind.Count, $"{name}: extra data length");
            Put(at + 48, 8, (ulong)_options.DiskLength, ImageFieldKind.Count, $"{name}: disk length");
            Encoding.ASCII.GetBytes($"{index + 1}s{index}", _bytes.AsSpan(at + Fixed + Extra));
        }

        return table;
    }

    private (int Offset, int Length) LayBitmaps()
    {
        if (_options.Bitmaps == 0)
        {
            return (0, 0);
        }

        const int Fixed = 24, Entry = Fixed + 8;
        var entries = new List<(int Table, int Count, int Granularity)>();
        for (var index = 0; index < _options.Bitmaps; index++)
        {
            var granularity = 9 + (index * 2);
            var bits = (_options.DiskLength + (1L << granularity) - 1) >> granularity;
            var count = (int)(((bits + 7) / 8) + ClusterSize - 1) / ClusterSize;
            var table = (int)Take(((count * 8) + ClusterSize - 1) / ClusterSize);
            for (var cluster = 0; cluster < count; cluster++)
            {
                var value = _random.Next(3) switch { 0 => 0UL, 1 => 1UL, _ => Take(1) };
                Put(table + (cluster * 8), 8, value, ImageFieldKind.Entry, $"bitmap {index}: table[{cluster}]");
            }

            entries.Add((table, count, granularity));
        }

        var directory = (int)Take(((entries.Count * Entry) + ClusterSize - 1) / ClusterSize);
        for (var index = 0; index < entries.Count; index++)
        {
            var at = directory + (index * Entry);
            var name = $"bitmap {index}";
            Put(at, 8, (ulong)entries[index].Table, ImageFieldKind.Offset, $"{name}: table offset");
            Put(at + 8, 4, (ulong)entries[index].Count, ImageFieldKind.Count, $"{name}: table entries");
            Put(at + 12, 4, 2, ImageFieldKind.Flags, $"{name}: flags");
            Put(at + 16, 1, 1, ImageFieldKind.Flags, $"{name}: type");
            Put(at + 17, 1, (ulong)entries[index].Granularity, ImageFieldKind.Count, $"{name}: granularity bits");
            Put(at + 18, 2, 2, ImageFieldKind.Count, $"{name}: name length");
            Put(at + 20, 4, 0, ImageFieldKind.Count, $"{name}: extra data length");
            Encoding.ASCII.GetBytes($"b{index}", _bytes.AsSpan(at + Fixed));
        }

        return (directory, entries.Count * Entry);
    }

    // Last, because blocks and table count themselves.
    private (int Offset, int Clusters) LayRefcounts()
    {
        var perBlock = ClusterSize * 8 >> _options.RefcountOrder;
        int blocks = 1, table = 1;
        while (blocks * perBlock < _clusters + blocks + table)
        {
            blocks++;
            table = ((blocks * 8) + ClusterSize - 1) / ClusterSize;
        }

        var tableOffset = (int)Take(table);
        var blockOffset = (int)Take(blocks);
        for (var index = 0; index < blocks; index++)
        {
            Put(tableOffset + (index * 8), 8, (ulong)(blockOffset + (index * ClusterSize)), ImageFieldKind.Entry,
                $"refcount table[{index}]");
        }

        for (var cluster = 0; cluster < _clusters; cluster++)
        {
            PutRefcount(blockOffset + (cluster / perBlock * ClusterSize), cluster % perBlock, _uses[cluster]);
        }

        return (tableOffset, table);
    }

    private void PutRefcount(int block, int index, int value)
    {
        if (_options.RefcountOrder >= 3)
        {
            var size = 1 << (_options.RefcountOrder - 3);
            Put(block + (index * size), size, (ulong)value, ImageFieldKind.Refcount, $"refcount {index} at {block}");
            return;
        }

        var perByte = 8 >> _options.RefcountOrder;
        var at = block + (index / perByte);
        _bytes[at] |= (byte)(value << (index % perByte << _options.RefcountOrder));
        if (index % perByte == 0)
        {
            _fields.Add(new ImageField(at, 1, ImageFieldKind.Refcount, $"refcounts from {index} at {block}"));
        }
    }

    private void LayHeader(
        int l1Offset, int l1Count, int snapshots, int tableOffset, int tableClusters, int directory,
        int directoryLength)
    {
        Put(0, 4, 0x514649fb, ImageFieldKind.Flags, "magic");
        Put(4, 4, (ulong)_options.Version, ImageFieldKind.Count, "version");
        Put(8, 8, 0, ImageFieldKind.Offset, "backing file offset");
        Put(16, 4, 0, ImageFieldKind.Count, "backing file length");
        Put(20, 4, (ulong)_options.ClusterBits, ImageFieldKind.Count, "cluster bits");
        Put(24, 8, (ulong)_options.DiskLength, ImageFieldKind.Count, "disk length");
        Put(32, 4, 0, ImageFieldKind.Flags, "encryption");
        Put(36, 4, (ulong)l1Count, ImageFieldKind.Count, "L1 entries");
        Put(40, 8, (ulong)l1Offset, ImageFieldKind.Offset, "L1 offset");
        Put(48, 8, (ulong)tableOffset, ImageFieldKind.Offset, "refcount table offset");
        Put(56, 4, (ulong)tableClusters, ImageFieldKind.Count, "refcount table clusters");
        Put(60, 4, (ulong)_options.Snapshots, ImageFieldKind.Count, "snapshots");
        Put(64, 8, (ulong)snapshots, ImageFieldKind.Offset, "snapshot table offset");
        var at = 72;
        if (_options.Version >= 3)
        {
            LayVersion3();
            at = 112;
        }

        if (directoryLength > 0)
        {
            var field = at + 8;
            at = LayExtension(at, 0x23852875, new byte[24], "bitmaps");
            Put(field, 4, (ulong)_options.Bitmaps, ImageFieldKind.Count, "bitmaps");
            Put(field + 4, 4, 0, ImageFieldKind.Flags, "bitmaps: reserved");
            Put(field + 8, 8, (ulong)directoryLength, ImageFieldKind.Count, "bitmap directory length");
            Put(field + 16, 8, (ulong)directory, ImageFieldKind.Offset, "bitmap directory offset");
        }

        at = _options.DataFile is { } data
            ? LayExtension(at, 0x44415441, Encoding.UTF8.GetBytes(data), "data file") : at;
        at = _options.BackingFormat is { } format
            ? LayExtension(at, 0xe2792aca, Encoding.UTF8.GetBytes(format), "backing format") : at;
        at = _options.HasUnknownExtension ? LayExtension(at, 0x12345678, "unknown thing"u8, "unknown") : at;
        at = LayExtension(at, 0, [], "end");
        if (_options.BackingFile is { } name)
        {
            var bytes = Encoding.UTF8.GetBytes(name);
            bytes.CopyTo(_bytes, at);
            _fields.Add(new ImageField(at, bytes.Length, ImageFieldKind.Bytes, "backing file name"));
            BinaryPrimitives.WriteInt64BigEndian(_bytes.AsSpan(8), at);
            BinaryPrimitives.WriteInt32BigEndian(_bytes.AsSpan(16), bytes.Length);
        }
    }

    private void LayVersion3()
    {
        var incompatible = (_options.HasDataFile ? 4UL : 0) | (_options.CompressionType != 0 ? 8UL : 0)
            | (_options.HasExtendedL2 ? 16UL : 0);
        Put(72, 8, incompatible, ImageFieldKind.Flags, "incompatible features");
        Put(80, 8, _options.HasLazyRefcounts ? 1UL : 0, ImageFieldKind.Flags, "compatible features");
        Put(88, 8, _options.Bitmaps > 0 ? 1UL : 0, ImageFieldKind.Flags, "autoclear features");
        Put(96, 4, (ulong)_options.RefcountOrder, ImageFieldKind.Count, "refcount order");
        Put(100, 4, 112, ImageFieldKind.Count, "header length");
        Put(104, 1, (ulong)_options.CompressionType, ImageFieldKind.Flags, "compression type");
    }

    private int LayExtension(int at, uint type, ReadOnlySpan<byte> data, string name)
    {
        Put(at, 4, type, ImageFieldKind.Flags, $"extension {name}: type");
        Put(at + 4, 4, (ulong)data.Length, ImageFieldKind.Count, $"extension {name}: length");
        data.CopyTo(_bytes.AsSpan(at + 8));
        if (data.Length > 0 && name != "bitmaps")
        {
            _fields.Add(new ImageField(at + 8, data.Length, ImageFieldKind.Bytes, $"extension {name}: data"));
        }

        return at + 8 + ((data.Length + 7) & ~7);
    }

    private void Put(int offset, int size, ulong value, ImageFieldKind kind, string name)
    {
        _fields.Add(new ImageField(offset, size, kind, name));
        Write(_bytes.AsSpan(offset, size), value);
    }

    /// <summary>Writes a big endian field.</summary>
    public static void Write(Span<byte> field, ulong value)
    {
        for (var index = field.Length - 1; index >= 0; index--)
        {
            field[index] = (byte)value;
            value >>= 8;
        }
    }

    /// <summary>Reads a big endian field.</summary>
    public static ulong Read(ReadOnlySpan<byte> field)
    {
        ulong value = 0;
        foreach (var part in field)
        {
            value = (value << 8) | part;
        }

        return value;
    }
}
