namespace Tidemark.Backup.Graph;

/// <summary>A dirty bitmap of a node, as the hypervisor reports it (QAPI <c>BlockDirtyInfo</c>).</summary>
/// <param name="Name">Its name. Bitmaps without a name belong to jobs and are not part of a snapshot of the
/// graph.</param>
/// <param name="Granularity">Bytes per bit.</param>
/// <param name="Count">Dirty bytes.</param>
/// <param name="IsRecording">Whether writes are being marked.</param>
/// <param name="IsPersistent">Whether the image keeps it.</param>
/// <param name="IsInconsistent">Whether it was not closed cleanly; it may only be removed.</param>
/// <param name="IsBusy">Whether a job or an export uses it.</param>
public sealed record NodeBitmap(
    string Name,
    long Granularity,
    long Count,
    bool IsRecording,
    bool IsPersistent,
    bool IsInconsistent,
    bool IsBusy);
