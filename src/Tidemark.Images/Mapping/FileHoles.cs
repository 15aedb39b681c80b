using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Images.Mapping;

/// <summary>
/// Where a file has data and where holes, asked once: a map of an image whose clusters lie scattered asks for a million
/// small ranges, most of them in the same few runs of the file.
/// </summary>
/// <remarks>
/// Why no data can be taken for a hole: only a file that does not change while it is open is remembered
/// (<see cref="RawFileNode.IsUnchanging"/>: it is read-only here, and the image locks keep writers out), so each run
/// says what the kernel would say now. Any other file, and one with more runs than the limit, is asked each time.
/// </remarks>
internal sealed class FileHoles
{
    /// <summary>The most runs that are remembered: 1.5 MiB.</summary>
    internal const int MaximumRuns = 1 << 16;

    private const long Window = 1L << 30;

    private readonly ExtentList _runs;
    private int _last;

    private FileHoles(ExtentList runs) => _runs = runs;

    /// <summary>Asks for the whole file.</summary>
    /// <returns>Null when it may change, or has too many runs to be remembered.</returns>
    internal static async ValueTask<FileHoles?> ReadAsync(BlockNode file, CancellationToken cancellationToken)
    {
        if (file is not RawFileNode { IsUnchanging: true })
        {
            return null;
        }

        ExtentList runs = new();
        var end = file.Length;
        for (long offset = 0; offset < end; offset += Window)
        {
            await file.GetBlockStatusAsync(offset, Math.Min(Window, end - offset), runs, cancellationToken)
                .ConfigureAwait(false);
            if (runs.Count > MaximumRuns)
            {
                return null;
            }
        }

        return new FileHoles(runs);
    }

    /// <summary>Appends what the file has in a range, which lies inside it.</summary>
    internal void Append(long offset, long length, ExtentList extents)
    {
        var end = offset + length;
        for (var index = Find(offset); offset < end; index++)
        {
            var run = _runs[index];
            var part = Math.Min(end, run.End) - offset;
            extents.Append(offset, part, run.Flags);
            offset += part;
            _last = index;
        }
    }

    // The run that holds an offset. Neighbours of a disk are often neighbours in the file.
    private int Find(long offset)
    {
        if (_last < _runs.Count && _runs[_last] is var last && offset >= last.Offset && offset < last.End)
        {
            return _last;
        }

        var (low, high) = (0, _runs.Count - 1);
        while (low < high)
        {
            var middle = (low + high + 1) / 2;
            if (_runs[middle].Offset <= offset)
            {
                low = middle;
            }
            else
            {
                high = middle - 1;
            }
        }

        return low;
    }
}
