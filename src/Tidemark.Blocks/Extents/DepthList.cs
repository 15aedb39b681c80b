using System.Collections;

namespace Tidemark.Blocks.Extents;

/// <summary>
/// An ordered list of <see cref="DepthRun"/>s without gaps. A run is merged with the one before it when their depths
/// are equal.
/// </summary>
/// <remarks>Not thread-safe. <see cref="Clear"/> keeps the storage.</remarks>
public sealed class DepthList : IReadOnlyList<DepthRun>
{
    private readonly List<DepthRun> _runs = [];

    /// <inheritdoc/>
    public int Count => _runs.Count;

    /// <inheritdoc/>
    public DepthRun this[int index] => _runs[index];

    /// <summary>Empties the list and keeps its storage.</summary>
    public void Clear() => _runs.Clear();

    /// <summary>Appends a run, which must begin where the list ends.</summary>
    /// <exception cref="ArgumentException">The run leaves a gap, overlaps, or has a length of zero or less.</exception>
    public void Append(long offset, long length, int depth)
    {
        if (length <= 0 || (_runs.Count > 0 && _runs[^1].End != offset))
        {
            throw new ArgumentException($"a run of {length} bytes at offset {offset} does not follow the list's end");
        }

        if (_runs.Count > 0 && _runs[^1].Depth == depth)
        {
            _runs[^1] = _runs[^1] with { Length = _runs[^1].Length + length };
            return;
        }

        _runs.Add(new DepthRun(offset, length, depth));
    }

    /// <inheritdoc/>
    public IEnumerator<DepthRun> GetEnumerator() => _runs.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
