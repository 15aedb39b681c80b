using Tidemark.Blocks.Bitmaps;

namespace Tidemark.Qcow2.Bitmaps;

/// <summary>A bitmap that the image holds: its entry as it stands on disk, and what it was loaded as.</summary>
internal sealed record StoredBitmap(BitmapDirectoryEntry Entry, DirtyBitmap Bitmap);
