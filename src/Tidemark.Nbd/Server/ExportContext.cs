using Tidemark.Blocks.Bitmaps;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server;

/// <summary>A metadata context that an export offers.</summary>
/// <param name="Id">Its number on the wire, unique in the export.</param>
/// <param name="Name">Its full name.</param>
/// <param name="Kind">What it tells.</param>
/// <param name="Bitmap">The dirty bitmap behind it; null for every other kind.</param>
internal sealed record ExportContext(uint Id, string Name, ExportContextKind Kind, DirtyBitmap? Bitmap = null)
{
    /// <summary>The bit that QEMU's dirty bitmap contexts set for a dirty extent.</summary>
    internal const uint DirtyState = 1;

    /// <summary>
    /// Whether a query selects the context ("Metadata querying"). An empty leaf name is a wildcard when listing and
    /// selects nothing when setting. Queries of namespaces that are not known here match nothing.
    /// </summary>
    internal bool Matches(string query, bool listing)
    {
        if (string.Equals(query, Name, StringComparison.Ordinal))
        {
            return true;
        }

        return listing
            && (query is "base:" or "qemu:" or MetaContextNames.DirtyBitmapPrefix)
            && Name.StartsWith(query, StringComparison.Ordinal);
    }
}
