namespace Tidemark.Qcow2.Tests.Differential;

/// <summary>What a disk and its bitmaps must hold, whoever did what to them.</summary>
internal sealed class DiskModel(int length)
{
    private const int Sector = 512;

    private readonly HashSet<int> _touched = [];

    /// <summary>The bytes.</summary>
    internal byte[] Bytes { get; private set; } = new byte[length];

    /// <summary>Sectors of which nothing is known since a discard: a read tells.</summary>
    internal HashSet<int> Unknown { get; } = [];

    /// <summary>The bitmaps by name.</summary>
    internal SortedDictionary<string, ModelBitmap> Bitmaps { get; } = new(StringComparer.Ordinal);

    /// <summary>What was done so far, in order, for whoever must find out why it failed.</summary>
    internal List<string> History { get; } = [];

    /// <summary>The disk when each internal snapshot was taken.</summary>
    internal SortedDictionary<string, byte[]> Snapshots { get; } = new(StringComparer.Ordinal);

    internal void Write(int offset, ReadOnlySpan<byte> data)
    {
        data.CopyTo(Bytes.AsSpan(offset));
        Touch(offset, data.Length, isKnown: true);
    }

    /// <summary>Whether any of these bytes was ever written, zeroed or discarded.</summary>
    internal bool IsTouched(int offset, int count) =>
        Enumerable.Range(offset / Sector, count / Sector).Any(_touched.Contains);

    internal void Discard(int offset, int count) => Touch(offset, count, isKnown: false);

    internal void Resize(int size)
    {
        var bytes = Bytes;
        Array.Resize(ref bytes, size);
        Bytes = bytes;
        Unknown.RemoveWhere(sector => sector >= size / Sector);
        foreach (var bitmap in Bitmaps.Values)
        {
            bitmap.Resize(size);
        }
    }

    /// <summary>Compares with what was read; sectors that were discarded take what was read.</summary>
    /// <returns>Null, or the first difference.</returns>
    internal string? Compare(ReadOnlySpan<byte> read)
    {
        if (read.Length < Bytes.Length)
        {
            return $"{read.Length} bytes were read, not {Bytes.Length}";
        }

        foreach (var sector in Unknown)
        {
            read.Slice(sector * Sector, Sector).CopyTo(Bytes.AsSpan(sector * Sector));
        }

        Unknown.Clear();
        var same = Bytes.AsSpan().CommonPrefixLength(read);
        return same == Bytes.Length ? null : $"byte {same} is {read[same]}, not {Bytes[same]}";
    }

    private void Touch(int offset, int count, bool isKnown)
    {
        for (var sector = offset / Sector; sector < (offset + count) / Sector; sector++)
        {
            _touched.Add(sector);
            _ = isKnown ? Unknown.Remove(sector) : Unknown.Add(sector);
        }

        foreach (var bitmap in Bitmaps.Values.Where(bitmap => bitmap.IsRecording))
        {
            bitmap.Mark(offset, count);
        }
    }
}
