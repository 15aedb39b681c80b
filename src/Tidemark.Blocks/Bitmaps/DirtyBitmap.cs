using System.Numerics;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Bitmaps;

/// <summary>
/// Which granules of a disk were written. One bit stands for <see cref="Granularity"/> bytes. Setting widens outward
/// to whole granules, clearing may only be asked for whole granules: so a bitmap can say too much, never too little.
/// </summary>
/// <remarks>
/// Layout: one bit a granule in 64-bit words, bit 0 of word 0 first; the last granule may reach past the end of the
/// disk. Thread-safe: the bits are guarded by one lock, held for the length of a word-wise loop. The flags are QEMU's
/// (docs/interop/bitmaps.rst): <see cref="IsRecording"/>, <see cref="IsPersistent"/>, <see cref="IsInconsistent"/>,
/// <see cref="IsBusy"/>.
/// </remarks>
public sealed partial class DirtyBitmap
{
    /// <summary>The smallest granularity: 512 bytes, a sector.</summary>
    public const long MinimumGranularity = 512;

    /// <summary>The largest granularity: 2 GiB, as in QEMU.</summary>
    public const long MaximumGranularity = 1L << 31;

    /// <summary>The granularity when none is asked for: 64 KiB.</summary>
    public const long DefaultGranularity = 64 * 1024;

    /// <summary>The longest bitmap, in granules: 2^33, one GiB of bits.</summary>
    public const long MaximumGranuleCount = 1L << 33;

    /// <summary>The longest name in UTF-8 bytes that QEMU accepts.</summary>
    public const int MaximumNameLength = 1023;

    private readonly Lock _gate = new();
    private readonly int _shift;
    private readonly ulong[] _words;
    private long _setCount;
    private volatile bool _recording = true;

    /// <summary>Creates a clean, recording, transient bitmap.</summary>
    /// <param name="name">Its name, or null for one that only its creator knows.</param>
    /// <param name="length">Size of the disk in bytes.</param>
    /// <param name="granularity">Bytes per bit: a power of two between the two limits.</param>
    /// <exception cref="BlockException">A value is out of its limits.</exception>
    public DirtyBitmap(string? name, long length, long granularity = DefaultGranularity)
    {
        if (granularity is < MinimumGranularity or > MaximumGranularity || !BitOperations.IsPow2(granularity))
        {
            throw new BlockException(
                BlockErrorKind.Invalid,
                $"Granularity must be power of 2 and at least {MinimumGranularity} and at most {MaximumGranularity}, "
                + $"not {granularity}");
        }

        ArgumentOutOfRangeException.ThrowIfNegative(length);
        Name = name;
        Length = length;
        Granularity = granularity;
        _shift = BitOperations.TrailingZeroCount(granularity);
        GranuleCount = (length >> _shift) + ((length & (granularity - 1)) == 0 ? 0 : 1);
        if (GranuleCount > MaximumGranuleCount)
        {
            throw new BlockException(
                BlockErrorKind.Invalid,
                $"a bitmap of {GranuleCount} granules is over the limit of {MaximumGranuleCount}: "
                + "use a larger granularity");
        }

        _words = new ulong[(GranuleCount + 63) / 64];
    }

    /// <summary>The name; null when only its creator knows it.</summary>
    public string? Name { get; }

    /// <summary>The size of the disk in bytes.</summary>
    public long Length { get; }

    /// <summary>Bytes per bit.</summary>
    public long Granularity { get; }

    /// <summary>How many granules the disk has, the last one perhaps partial.</summary>
    public long GranuleCount { get; }

    /// <summary>Whether writes are being marked.</summary>
    public bool IsRecording
    {
        get => _recording && !IsInconsistent;
        set => _recording = value;
    }

    /// <summary>Whether the image keeps the bitmap when its node is closed.</summary>
    public bool IsPersistent { get; set; }

    /// <summary>Whether the bitmap was not closed cleanly. It is never used then; it can only be removed.</summary>
    public bool IsInconsistent { get; init; }

    /// <summary>Whether a job or an export uses the bitmap, so that it may not be changed or removed.</summary>
    public bool IsBusy { get; set; }

    /// <summary>How many granules are dirty.</summary>
    public long DirtyGranules
    {
        get
        {
            lock (_gate)
            {
                return _setCount;
            }
        }
    }

    /// <summary>The dirty granules in bytes, counted whole: QEMU's <c>count</c>.</summary>
    public long DirtyBytes => DirtyGranules << _shift;

    /// <summary>Marks every granule that the range touches.</summary>
    public void Set(long offset, long length)
    {
        CheckRange(offset, length);
        if (length > 0)
        {
            lock (_gate)
            {
                Change(offset >> _shift, (offset + length - 1) >> _shift, set: true);
            }
        }
    }

    /// <summary>Unmarks a range of whole granules; its end may also be the end of the disk.</summary>
    /// <exception cref="ArgumentException">An end of the range lies inside a granule.</exception>
    public void Reset(long offset, long length)
    {
        CheckRange(offset, length);
        var mask = Granularity - 1;
        if ((offset & mask) != 0 || (((offset + length) & mask) != 0 && offset + length != Length))
        {
            throw new ArgumentException(
                $"range {offset}+{length} is not made of whole granules of {Granularity} bytes");
        }

        if (length > 0)
        {
            lock (_gate)
            {
                Change(offset >> _shift, (offset + length - 1) >> _shift, set: false);
            }
        }
    }

    /// <summary>Unmarks everything.</summary>
    public void Clear()
    {
        lock (_gate)
        {
            Array.Clear(_words);
            _setCount = 0;
        }
    }

    /// <summary>Whether the granule that holds the byte is dirty.</summary>
    public bool Get(long offset)
    {
        CheckRange(offset, 1);
        var granule = offset >> _shift;
        lock (_gate)
        {
            return (_words[granule >> 6] & (1UL << (int)(granule & 63))) != 0;
        }
    }

    /// <summary>
    /// The next dirty run at or after <paramref name="offset"/>, clipped to <c>[offset, offset + length)</c>.
    /// </summary>
    /// <param name="offset">Where the range begins.</param>
    /// <param name="length">How long it is.</param>
    /// <param name="run">The run found.</param>
    /// <param name="maximumRun">How many bytes of the run are wanted; the search for its end stops there.</param>
    /// <returns>False when the rest of the range is clean.</returns>
    public bool TryNextDirty(long offset, long length, out Extent run, long maximumRun = long.MaxValue)
    {
        CheckRange(offset, length);
        lock (_gate)
        {
            var end = offset + length;
            var limit = (end + Granularity - 1) >> _shift;
            var first = length == 0 ? limit : NextBit(offset >> _shift, limit, wanted: true);
            if (first >= limit)
            {
                run = default;
                return false;
            }

            var from = Math.Max(offset, first << _shift);
            end = Math.Min(end, maximumRun > end - from ? end : from + maximumRun);
            limit = (end + Granularity - 1) >> _shift;
            var last = NextBit(first, limit, wanted: false);
            run = new Extent(from, Math.Min(end, last << _shift) - from, ExtentFlags.Dirty);
            return true;
        }
    }

    /// <summary>Whether every granule that the range touches is dirty.</summary>
    public bool IsAllDirty(long offset, long length)
    {
        CheckRange(offset, length);
        lock (_gate)
        {
            var limit = (offset + length + Granularity - 1) >> _shift;
            return length == 0 || NextBit(offset >> _shift, limit, wanted: false) >= limit;
        }
    }

    /// <summary>Appends the range as alternating dirty and clean extents; the whole range is described.</summary>
    public void AppendExtents(long offset, long length, ExtentList extents)
    {
        var end = offset + length;
        while (offset < end)
        {
            if (!TryNextDirty(offset, end - offset, out var run))
            {
                extents.Append(offset, end - offset, ExtentFlags.None);
                return;
            }

            if (run.Offset > offset)
            {
                extents.Append(offset, run.Offset - offset, ExtentFlags.None);
            }

            extents.Append(run);
            offset = run.End;
        }
    }

    /// <summary>Adds every mark of another bitmap of the same disk size; granularities may differ.</summary>
    /// <exception cref="BlockException">The sizes differ, or one of the two is inconsistent.</exception>
    public void Merge(DirtyBitmap source)
    {
        if (source.Length != Length)
        {
            throw new BlockException(
                BlockErrorKind.Invalid,
                $"Bitmaps are of different sizes (destination size is {Length}, source size is {source.Length}) "
                + "and can't be merged");
        }

        if (source.IsInconsistent || IsInconsistent)
        {
            throw new BlockException(
                BlockErrorKind.Invalid,
                $"Bitmap '{(source.IsInconsistent ? source.Name : Name)}' is inconsistent and cannot be used");
        }

        if (ReferenceEquals(source, this))
        {
            return;
        }

        if (source.Granularity == Granularity)
        {
            MergeWords(source.CopyWords());
            return;
        }

        long offset = 0;
        while (offset < Length && source.TryNextDirty(offset, Length - offset, out var run))
        {
            Set(run.Offset, run.Length);
            offset = run.End;
        }
    }

    /// <summary>The same bitmap for its disk at another size: what is added is clean, as in QEMU. For who resizes the
    /// disk, which is then in a drained section; this bitmap stays as it is.</summary>
    public DirtyBitmap Resized(long length)
    {
        DirtyBitmap resized = new(Name, length, Granularity)
        {
            IsPersistent = IsPersistent,
            IsInconsistent = IsInconsistent,
            IsRecording = _recording,
        };
        var words = CopyWords();
        Array.Resize(ref words, resized._words.Length);
        resized.MergeWords(words);
        return resized;
    }

    private void Change(long first, long last, bool set)
    {
        for (var index = first >> 6; index <= last >> 6; index++)
        {
            var mask = ulong.MaxValue;
            if (index == first >> 6)
            {
                mask &= ulong.MaxValue << (int)(first & 63);
            }

            if (index == last >> 6)
            {
                mask &= ulong.MaxValue >> (63 - (int)(last & 63));
            }

            var old = _words[index];
            var changed = set ? old | mask : old & ~mask;
            if (changed != old)
            {
                _words[index] = changed;
                _setCount += BitOperations.PopCount(changed) - BitOperations.PopCount(old);
            }
        }
    }

    private long NextBit(long from, long limit, bool wanted)
    {
        if (from >= limit)
        {
            return limit;
        }

        var flip = wanted ? 0UL : ulong.MaxValue;
        var index = from >> 6;
        var word = (_words[index] ^ flip) & (ulong.MaxValue << (int)(from & 63));
        var lastIndex = (limit - 1) >> 6;
        while (word == 0)
        {
            if (++index > lastIndex)
            {
                return limit;
            }

            word = _words[index] ^ flip;
        }

        return Math.Min(limit, (index << 6) + BitOperations.TrailingZeroCount(word));
    }

    private void CheckRange(long offset, long length)
    {
        if (offset < 0 || length < 0 || offset > Length || length > Length - offset)
        {
            throw new ArgumentOutOfRangeException(
                nameof(offset), $"range {offset}+{length} is outside bitmap '{Name}' of {Length} bytes");
        }
    }
}
