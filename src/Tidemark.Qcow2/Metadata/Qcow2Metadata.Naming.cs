using System.Text;
using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2.Metadata;

// The backing file's name. It can be longer than a sector, which is all that a disk writes at once. So: the new name is
// written where neither the old one nor the header's sector is, and flushed; then the sector names it.
internal sealed partial class Qcow2Metadata
{
    internal async ValueTask ChangeBackingFileAsync(string? name, string? format, CancellationToken cancellationToken)
    {
        await _lock.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var bytes = name is null ? [] : Encoding.UTF8.GetBytes(name);
            var header = _header with
            {
                BackingFile = name,
                BackingFormat = format,
                BackingFileOffset = name is null ? 0 : PlaceName(bytes.Length),
                Extensions = WithFormat(_header.Extensions, format),
            };
            if (header.BackingFileOffset != 0)
            {
                await _file.WriteAsync(header.BackingFileOffset, bytes, cancellationToken).ConfigureAwait(false);
                await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
            }

            await WriteHeaderLockedAsync(header, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _lock.Release();
        }
    }

    // Zero when there is no such place: in a cluster of a sector header and name are one write.
    private int PlaceName(int length)
    {
        var (oldStart, oldEnd) = _header.BackingFile is null ? (0, 0)
            : (_header.BackingFileOffset, _header.BackingFileOffset + _header.BackingFileBytes.Length);
        const int First = Qcow2HeaderWriter.AtomicLength;
        foreach (var place in (ReadOnlySpan<int>)[First, Math.Max(First, oldEnd)])
        {
            if (place + length <= ClusterSize && (place >= oldEnd || place + length <= oldStart))
            {
                return place;
            }
        }

        return 0;
    }

    private static IReadOnlyList<HeaderExtension> WithFormat(IReadOnlyList<HeaderExtension> extensions, string? format)
    {
        List<HeaderExtension> changed =
            [.. extensions.Where(extension => extension.Type != HeaderExtension.BackingFormat)];
        if (format is not null)
        {
            changed.Insert(0, new HeaderExtension(HeaderExtension.BackingFormat, Encoding.UTF8.GetBytes(format)));
        }

        return changed;
    }
}
