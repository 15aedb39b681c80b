namespace Tidemark.Qcow2.Checking;

/// <summary>
/// How often each cluster of a file is used. Only stretches of the file that are used at all take memory, so that a
/// file that is huge and empty costs nothing, and the whole is bounded by a limit.
/// </summary>
internal sealed class UseCounters(long clusters, long memoryLimit)
{
    private const int PageBits = 11;
    private const int PageLength = 1 << PageBits;
    private const int PageBytes = (PageLength * sizeof(ushort)) + 64;

    private readonly Dictionary<long, ushort[]> _pages = [];
    private long _lastIndex = -1;
    private ushort[] _lastPage = [];

    /// <summary>Clusters of the file.</summary>
    internal long Clusters => clusters;

    /// <summary>Counts one use.</summary>
    internal void Add(long cluster)
    {
        var page = PageOf(cluster >> PageBits);
        ref var count = ref page[(int)(cluster & (PageLength - 1))];
        count = (ushort)Math.Min(ushort.MaxValue, count + 1);
    }

    /// <summary>How often a cluster is used.</summary>
    internal int this[long cluster]
    {
        get
        {
            var index = cluster >> PageBits;
            if (index != _lastIndex)
            {
                if (!_pages.TryGetValue(index, out var page))
                {
                    return 0;
                }

                (_lastIndex, _lastPage) = (index, page);
            }

            return _lastPage[(int)(cluster & (PageLength - 1))];
        }
    }

    /// <summary>Stretches of clusters of which some are used, in order.</summary>
    internal IEnumerable<(long First, long End)> UsedStretches() =>
        _pages.Keys.Order().Select(index => (index << PageBits, Math.Min((index + 1) << PageBits, clusters)));

    private ushort[] PageOf(long index)
    {
        if (index == _lastIndex)
        {
            return _lastPage;
        }

        if (!_pages.TryGetValue(index, out var page))
        {
            if ((_pages.Count + 1L) * PageBytes > memoryLimit)
            {
                throw Qcow2Exception.NotSupported(
                    $"to count the uses of the file's {clusters} clusters takes more memory than the limit of "
                    + $"{memoryLimit} bytes");
            }

            page = new ushort[PageLength];
            _pages.Add(index, page);
        }

        (_lastIndex, _lastPage) = (index, page);
        return page;
    }
}
