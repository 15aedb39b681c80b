namespace Tidemark.Qcow2.Checking;

/// <summary>
/// How often each host cluster is used, and as what, for as many clusters as fit in a limit. Counters lie in pages that
/// come into being when something in them is used, so a sparse file costs what it holds. When the pages are used up the
/// one with the highest clusters goes, and the window ends there: what lies behind is left to the next pass.
/// </summary>
internal sealed class UseCounts
{
    internal const int PageBits = 12;
    private const int KindShift = 6, CountMask = (1 << KindShift) - 1, Overflow = CountMask;

    private readonly int _maximumPages;
    private readonly Dictionary<long, byte[]> _pages = [];
    private readonly PriorityQueue<long, long> _highest = new();
    private readonly Stack<byte[]> _spare = [];
    private readonly Dictionary<long, ulong> _large = [];
    private byte[]? _last;
    private long _lastIndex = -1;

    internal UseCounts(long memoryLimit) => _maximumPages = (int)Math.Clamp(memoryLimit >> PageBits, 16, 1 << 20);

    /// <summary>The first cluster of this pass.</summary>
    internal long Start { get; private set; }

    /// <summary>Where it ends: <see cref="long.MaxValue"/> as long as everything fits.</summary>
    internal long End { get; private set; } = long.MaxValue;

    /// <summary>Begins a pass.</summary>
    internal void Restart(long start)
    {
        foreach (var page in _pages.Values)
        {
            _spare.Push(page);
        }

        _pages.Clear();
        _highest.Clear();
        _large.Clear();
        (_last, _lastIndex, Start, End) = (null, -1, start, long.MaxValue);
    }

    /// <summary>Counts one use.</summary>
    /// <returns>False when the cluster is used as something else already, or is a table that only one may
    /// use.</returns>
    internal bool Add(long cluster, UseKind kind)
    {
        if (cluster < Start || cluster >= End || GetPage(cluster >> PageBits) is not { } page)
        {
            return true;
        }

        ref var cell = ref page[cluster & ((1 << PageBits) - 1)];
        var count = cell & CountMask;
        var before = (UseKind)(cell >> KindShift);
        if (count < Overflow - 1)
        {
            count++;
        }
        else
        {
            _large[cluster] = (count == Overflow ? _large[cluster] : (ulong)count) + 1;
            count = Overflow;
        }

        cell = (byte)(count | ((int)(before == UseKind.None ? kind : before) << KindShift));
        return before == UseKind.None || (before == kind && kind != UseKind.Other);
    }

    internal ulong Get(long cluster)
    {
        var index = cluster >> PageBits;
        if (index != _lastIndex)
        {
            if (!_pages.TryGetValue(index, out var found))
            {
                return 0;
            }

            (_last, _lastIndex) = (found, index);
        }

        var page = _last!;
        var count = page[cluster & ((1 << PageBits) - 1)] & CountMask;
        return count == Overflow ? _large[cluster] : (ulong)count;
    }

    /// <summary>The counters from a cluster to the end of its page; null when nothing in the page is used.</summary>
    internal bool HasPage(long cluster) => _pages.ContainsKey(cluster >> PageBits);

    /// <summary>Ranges of clusters in which something is used, in order.</summary>
    internal IEnumerable<long> PageStarts() => _pages.Keys.Order().Select(index => index << PageBits);

    private byte[]? GetPage(long index)
    {
        if (index == _lastIndex)
        {
            return _last;
        }

        if (!_pages.TryGetValue(index, out var page))
        {
            if (_pages.Count >= _maximumPages && !MakeRoom(index))
            {
                return null;
            }

            page = _spare.TryPop(out var spare) ? spare : new byte[1 << PageBits];
            Array.Clear(page);
            _pages.Add(index, page);
            _highest.Enqueue(index, -index);
        }

        (_last, _lastIndex) = (page, index);
        return page;
    }

    // False when the wanted page is the highest itself: then it is the one that is left for later.
    private bool MakeRoom(long index)
    {
        var highest = _highest.Peek();
        End = Math.Max(highest, index) << PageBits;
        if (index > highest)
        {
            return false;
        }

        _highest.Dequeue();
        _spare.Push(_pages[highest]);
        _pages.Remove(highest);
        if (_lastIndex == highest)
        {
            (_last, _lastIndex) = (null, -1);
        }

        return true;
    }
}
