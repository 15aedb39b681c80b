namespace Tidemark.Qcow2.Metadata;

/// <summary>Host clusters whose count is to go down, as runs.</summary>
internal sealed class FreeList
{
    private readonly List<(long Cluster, int Count)> _runs = [];

    internal int RunCount => _runs.Count;

    internal IReadOnlyList<(long Cluster, int Count)> Runs => _runs;

    internal void Add(long cluster, int count)
    {
        if (_runs.Count > 0 && _runs[^1] is var last && last.Cluster + last.Count == cluster
            && last.Count < int.MaxValue - count)
        {
            _runs[^1] = (last.Cluster, last.Count + count);
            return;
        }

        _runs.Add((cluster, count));
    }

    internal void Clear() => _runs.Clear();
}
