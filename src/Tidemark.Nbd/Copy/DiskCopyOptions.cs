namespace Tidemark.Nbd.Copy;

/// <summary>How one disk is copied to another.</summary>
public sealed record DiskCopyOptions
{
    /// <summary>The longest read, in bytes: a power of two.</summary>
    public int RequestSize { get; init; } = 256 * 1024;

    /// <summary>How many requests are under way at once, at most; see <see cref="MaximumBytesInFlight"/>.</summary>
    public int Requests { get; init; } = 64;

    /// <summary>How many bytes of buffers there are, at most: fewer requests are under way if theirs would be more. One
    /// buffer there is always.</summary>
    public long MaximumBytesInFlight { get; init; } = 64L << 20;

    /// <summary>Whether what reads as zero is written to the target like any other bytes, so that storage is allocated
    /// for it. Otherwise it becomes a hole where the target can have one.</summary>
    public bool Allocated { get; init; }

    /// <summary>Whether the target reads as zero before the copy begins, so that zeroes need not be written.</summary>
    public bool TargetIsZero { get; init; }

    /// <summary>Whether the target is flushed at the end.</summary>
    public bool Flush { get; init; }

    /// <summary>The metadata context of a dirty bitmap of the source, an <see cref="Client.NbdNode"/>: only its dirty
    /// extents are copied. Null for the whole disk.</summary>
    public string? BitmapContext { get; init; }
}
