namespace Tidemark.Backup.Journal;

/// <summary>How a disk's frozen view is published.</summary>
/// <param name="Id">The export's id.</param>
/// <param name="Name">Its NBD name.</param>
/// <param name="Bitmap">The temporary bitmap that it shows; null when the whole disk is read.</param>
public sealed record JournalExport(string Id, string Name, string? Bitmap);
