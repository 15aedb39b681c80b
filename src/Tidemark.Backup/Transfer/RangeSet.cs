namespace Tidemark.Backup.Transfer;

/// <summary>A set of byte ranges of one chunk: sorted, apart from each other. Not thread-safe.</summary>
internal sealed class RangeSet
{
    private readonly List<(int Start, int End)> _ranges = [];

    /// <summary>How many bytes are in the set.</summary>
    internal int Length { get; private set; }

    /// <summary>The ranges in ascending order.</summary>
    internal IReadOnlyList<(int Start, int End)> Ranges => _ranges;

    /// <summary>Adds a range; returns how many of its bytes are new.</summary>
    internal int Add(int start, int end)
    {
        var first = _ranges.FindIndex(range => range.End >= start);
        if (first < 0)
        {
            _ranges.Add((start, end));
            Length += end - start;
            return end - start;
        }

        var from = start;
        var to = end;
        var covered = 0;
        var last = first;
        while (last < _ranges.Count && _ranges[last].Start <= end)
        {
            covered += _ranges[last].End - _ranges[last].Start;
            from = Math.Min(from, _ranges[last].Start);
            to = Math.Max(to, _ranges[last].End);
            last++;
        }

        _ranges.RemoveRange(first, last - first);
        _ranges.Insert(first, (from, to));
        var added = to - from - covered;
        Length += added;
        return added;
    }
}
