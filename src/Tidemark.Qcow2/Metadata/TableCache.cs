using System.Diagnostics.CodeAnalysis;

namespace Tidemark.Qcow2.Metadata;

/// <summary>
/// A bounded cache of tables of one cluster each. Dirty tables are never thrown out: when all are dirty the owner
/// writes back first. The one to go is found by a clock hand: a table that was used since the hand last passed gets
/// another round.
/// </summary>
/// <remarks>Not thread-safe.</remarks>
internal sealed class TableCache(int tableLength, int capacity)
{
    private readonly Dictionary<long, CachedTable> _byOffset = [];
    private readonly List<CachedTable> _ring = [];
    private readonly List<CachedTable> _dirty = [];
    private int _hand;

    internal bool IsFull => _ring.Count >= capacity;

    internal bool HasDirty => _dirty.Count > 0;

    internal IReadOnlyList<CachedTable> Dirty => _dirty;

    internal bool TryGet(long offset, [NotNullWhen(true)] out CachedTable? table)
    {
        if (_byOffset.TryGetValue(offset, out table))
        {
            table.IsReferenced = true;
            return true;
        }

        return false;
    }

    /// <summary>A buffer for a new table: the one of a clean table that is thrown out when the cache is full.</summary>
    /// <returns>Null when the cache is full of dirty tables.</returns>
    internal byte[]? TakeBuffer()
    {
        if (!IsFull)
        {
            return GC.AllocateUninitializedArray<byte>(tableLength);
        }

        for (var step = 0; step < _ring.Count * 2; step++)
        {
            _hand = _hand + 1 < _ring.Count ? _hand + 1 : 0;
            var table = _ring[_hand];
            if (table.IsDirty)
            {
                continue;
            }

            if (table.IsReferenced)
            {
                table.IsReferenced = false;
                continue;
            }

            _byOffset.Remove(table.Offset);
            RemoveFromRing(_hand);
            return table.Bytes;
        }

        return null;
    }

    internal void Add(CachedTable table)
    {
        if (_byOffset.TryGetValue(table.Offset, out var before))
        {
            // Its cluster was freed, and is a table again.
            Remove(before);
        }

        _byOffset.Add(table.Offset, table);
        _ring.Add(table);
    }

    internal void MarkDirty(CachedTable table)
    {
        if (!table.IsDirty)
        {
            table.IsDirty = true;
            _dirty.Add(table);
        }
    }

    internal void MarkAllClean()
    {
        foreach (var table in _dirty)
        {
            table.IsDirty = false;
        }

        _dirty.Clear();
    }

    /// <summary>Forgets a table, dirty or not: its cluster is no longer a table.</summary>
    internal void Remove(CachedTable table)
    {
        _byOffset.Remove(table.Offset);
        RemoveFromRing(_ring.IndexOf(table));
        if (table.IsDirty)
        {
            _dirty.Remove(table);
        }
    }

    private void RemoveFromRing(int index)
    {
        _ring[index] = _ring[^1];
        _ring.RemoveAt(_ring.Count - 1);
    }
}
