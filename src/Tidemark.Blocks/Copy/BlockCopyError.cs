namespace Tidemark.Blocks.Copy;

/// <summary>A step of a copy that failed. Its clusters are still to be copied.</summary>
/// <param name="Offset">Where the step began, in bytes.</param>
/// <param name="Length">How many bytes it had.</param>
/// <param name="IsRead">Whether the source failed, rather than the target.</param>
/// <param name="Exception">What it threw.</param>
public sealed record BlockCopyError(long Offset, long Length, bool IsRead, Exception Exception);
