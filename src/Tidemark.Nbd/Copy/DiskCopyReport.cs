namespace Tidemark.Nbd.Copy;

/// <summary>What a copy did, in bytes.</summary>
/// <param name="Length">The source's size.</param>
/// <param name="Selected">What was to be copied: all, or what the bitmap has as dirty.</param>
/// <param name="Read">Bytes read from the source.</param>
/// <param name="Written">Bytes sent to the target as data.</param>
/// <param name="Zeroed">Bytes that read as zero: zeroed on the target, or known to be zero there.</param>
public sealed record DiskCopyReport(long Length, long Selected, long Read, long Written, long Zeroed)
{
    /// <summary>How many buffers of one request's size were made.</summary>
    internal int BuffersMade { get; init; }
}
