using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

/// <summary>
/// Which parts of a read have arrived. Chunks may come in any order and number; they must not overlap, and together
/// they must cover the whole read ("NBD_CMD_READ", structured replies).
/// </summary>
internal sealed class ChunkCoverage
{
    // Sorted, disjoint, not touching. Chunks in order keep it at one run.
    private readonly List<(long Start, long End)> _runs = [];

    /// <summary>Forgets everything; keeps the storage.</summary>
    internal void Clear() => _runs.Clear();

    /// <summary>Whether exactly one run covers the range.</summary>
    internal bool Covers(long start, long end) => _runs.Count == 1 && _runs[0] == (start, end);

    /// <summary>Adds a chunk.</summary>
    /// <returns>False when it overlaps an earlier one, or there are too many pieces.</returns>
    internal bool TryAdd(long start, long end)
    {
        var index = _runs.Count;
        while (index > 0 && _runs[index - 1].Start >= start)
        {
            index--;
        }

        // An export may end at the largest offset that there is, so no offset can stand for "none".
        var hasBefore = index > 0;
        var hasAfter = index < _runs.Count;
        var before = hasBefore ? _runs[index - 1] : default;
        var after = hasAfter ? _runs[index] : default;
        if ((hasBefore && before.End > start) || (hasAfter && after.Start < end))
        {
            return false;
        }

        switch (hasBefore && before.End == start, hasAfter && after.Start == end)
        {
            case (true, true):
                _runs[index - 1] = (before.Start, after.End);
                _runs.RemoveAt(index);
                break;
            case (true, false):
                _runs[index - 1] = (before.Start, end);
                break;
            case (false, true):
                _runs[index] = (start, after.End);
                break;
            default:
                _runs.Insert(index, (start, end));
                break;
        }

        return _runs.Count <= NbdLimits.MaximumDisjointChunks;
    }
}
