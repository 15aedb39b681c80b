using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Copy;

// Which bytes of the source are copied, and how: handed out piece by piece, in order, to whoever asks next.
//
// Why no byte is missed. The disk is described in steps that follow each other without a gap, from 0 to its length; a
// step's extents must cover it exactly, which ExtentList (no gaps between neighbours) and Check (first and last byte)
// hold. A byte is left out only if
//   * a bitmap was asked for and the server says of the byte, in that bitmap's own context, that it is clean. A context
//     that the server does not offer is an error before anything is copied, never an empty answer; or
//   * the source says in base:allocation that it reads as zero. Then it is zeroed on the target, or the target is known
//     to be zero. A source that cannot say anything describes everything as data.

/// <summary>The pieces of a copy, described ahead of those who take them.</summary>
internal sealed class CopyMap
{
    /// <summary>So much of the disk is described with one question; the next step is asked for while this one is
    /// copied.</summary>
    internal const long StepLength = 1L << 30;

    /// <summary>Zeroes are handed out in pieces of at most this length, so that progress shows.</summary>
    private const long LongestZeroPiece = 128L << 20;

    private readonly BlockNode _source;
    private readonly DiskCopyOptions _options;
    private readonly int _alignment;
    private readonly CancellationToken _cancellation;
    private readonly Lock _gate = new();

    // Guarded by _gate.
    private Queue<CopyPiece> _pieces = [];
    private Task<Queue<CopyPiece>>? _next;
    private long _described;
    private CopyPiece _current;

    // The describing task's alone: where the last piece ends.
    private long _end;

    /// <summary>Begins to describe.</summary>
    /// <param name="source">The disk.</param>
    /// <param name="options">What is wanted of it.</param>
    /// <param name="alignment">A power of two: every piece begins and ends at a multiple of it, or at the disk's
    /// end.</param>
    /// <param name="cancellationToken">Stops the describing.</param>
    internal CopyMap(
        BlockNode source, DiskCopyOptions options, int alignment, CancellationToken cancellationToken)
    {
        _source = source;
        _options = options;
        _alignment = alignment;
        _cancellation = cancellationToken;
        _next = DescribeNext();
    }

    /// <summary>The bytes selected so far.</summary>
    internal long Selected { get; private set; }

    /// <summary>Takes the next piece at once, if it is known.</summary>
    /// <param name="piece">The piece.</param>
    /// <param name="wait">What to wait for before asking again; null when there is no further piece.</param>
    internal bool TryTake(out CopyPiece piece, out Task? wait)
    {
        lock (_gate)
        {
            while (true)
            {
                if (TryCut(out piece))
                {
                    wait = null;
                    return true;
                }

                if (_pieces.TryDequeue(out _current))
                {
                    continue;
                }

                if (_next is null || !_next.IsCompletedSuccessfully)
                {
                    wait = _next;
                    return false;
                }

                _pieces = _next.Result;
                _next = DescribeNext();
            }
        }
    }

    private bool TryCut(out CopyPiece piece)
    {
        piece = default;
        if (_current.Length == 0)
        {
            return false;
        }

        var length = Math.Min(_current.Length, LongestZeroPiece);
        if (!_current.IsZero)
        {
            // Cut at multiples of the request size, so that requests are aligned whatever the extents are.
            var toBoundary = _options.RequestSize - (_current.Offset & (_options.RequestSize - 1));
            length = Math.Min(_current.Length, toBoundary);
        }

        piece = _current with { Length = length };
        _current = _current with { Offset = _current.Offset + length, Length = _current.Length - length };
        return true;
    }

    private Task<Queue<CopyPiece>>? DescribeNext()
    {
        var offset = _described;
        var length = Math.Min(StepLength, _source.Length - offset);
        if (length <= 0)
        {
            return null;
        }

        _described += length;
        return DescribeAsync(offset, length);
    }

    private async Task<Queue<CopyPiece>> DescribeAsync(long offset, long length)
    {
        Queue<CopyPiece> pieces = [];
        if (_options.BitmapContext is not { } context)
        {
            await AddAsync(pieces, offset, length).ConfigureAwait(false);
            return pieces;
        }

        var dirty = new ExtentList();
        await ((NbdNode)_source).GetMetaContextExtentsAsync(context, offset, length, dirty, _cancellation)
            .ConfigureAwait(false);
        Check(dirty, offset, length);
        foreach (var extent in dirty)
        {
            if (extent.IsDirty)
            {
                await AddAsync(pieces, extent.Offset, extent.Length).ConfigureAwait(false);
            }
        }

        return pieces;
    }

    private async ValueTask AddAsync(Queue<CopyPiece> pieces, long offset, long length)
    {
        var extents = new ExtentList();
        await _source.GetBlockStatusAsync(offset, length, extents, _cancellation).ConfigureAwait(false);
        Check(extents, offset, length);
        foreach (var extent in extents)
        {
            Add(pieces, extent);
        }
    }

    // Data grows to the alignment on both sides, zeroes shrink to it: a byte beside an extent is copied once too often,
    // never left out. The end of one piece is the least offset of the next, so none overlap.
    private void Add(Queue<CopyPiece> pieces, Extent extent)
    {
        long Down(long offset) => offset & -_alignment;
        long Up(long offset) => Math.Min(Down(offset + _alignment - 1), _source.Length);

        var start = Math.Max(extent.IsZero ? Up(extent.Offset) : Down(extent.Offset), _end);
        var end = extent.IsZero && extent.End < _source.Length ? Down(extent.End) : Up(extent.End);
        if (end > start)
        {
            pieces.Enqueue(new CopyPiece(start, end - start, extent.IsZero));
            Selected += end - start;
            _end = end;
        }
    }

    private static void Check(ExtentList extents, long offset, long length)
    {
        if (extents.Count == 0 || extents[0].Offset != offset || extents.Length != length)
        {
            throw new NbdException(
                BlockErrorKind.Io, $"the source does not describe its {length} bytes at {offset} in full");
        }
    }
}
