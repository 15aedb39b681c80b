using System.Collections;

namespace Tidemark.Blocks.Extents;

/// <summary>
/// An ordered list of <see cref="Extent"/>s without gaps between the first and the last. Appending merges a run with
/// the one before it when their flags are equal, so that a list never holds two neighbours that say the same.
/// </summary>
/// <remarks>
/// Not thread-safe. <see cref="Clear"/> keeps the storage, so a list can be used again without allocation.
/// </remarks>
public sealed class ExtentList : IReadOnlyList<Extent>
{
    private readonly List<Extent> _extents = [];

    /// <inheritdoc/>
    public int Count => _extents.Count;

    /// <inheritdoc/>
    public Extent this[int index] => _extents[index];

    /// <summary>The total number of bytes described.</summary>
    public long Length => _extents.Count == 0 ? 0 : _extents[^1].End - _extents[0].Offset;

    /// <summary>Empties the list and keeps its storage.</summary>
    public void Clear() => _extents.Clear();

    /// <summary>
    /// Appends a run, which must begin where the list ends; merges it with its neighbour if the flags match.
    /// </summary>
    /// <exception cref="ArgumentException">The run leaves a gap, overlaps, or has a length of zero or less.</exception>
    public void Append(long offset, long length, ExtentFlags flags)
    {
        if (length <= 0)
        {
            throw new ArgumentException($"an extent at offset {offset} must have a positive length, not {length}");
        }

        if (_extents.Count > 0)
        {
            var last = _extents[^1];
            if (last.End != offset)
            {
                throw new ArgumentException($"an extent at offset {offset} does not follow the list's end {last.End}");
            }

            if (last.Flags == flags)
            {
                _extents[^1] = last with { Length = last.Length + length };
                return;
            }
        }

        _extents.Add(new Extent(offset, length, flags));
    }

    /// <summary>Appends an extent; see <see cref="Append(long, long, ExtentFlags)"/>.</summary>
    public void Append(Extent extent) => Append(extent.Offset, extent.Length, extent.Flags);

    /// <inheritdoc/>
    public IEnumerator<Extent> GetEnumerator() => _extents.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
