using Tidemark.Repository.Blobs;

namespace Tidemark.Repository.Indexes;

// An open-addressing hash table over one array of entries, 48 bytes each, plus four bytes per slot: about 56 bytes a
// blob, no object per blob. Digests are evenly distributed, so their first bits are the hash. A blob that lies in
// several packs has several entries; a search yields them in the order in which they came.

/// <summary>Where the blobs of one type lie. Not thread-safe; guarded by <see cref="BlobIndex"/>.</summary>
internal sealed class BlobTable
{
    private Entry[] _entries = new Entry[64];
    private int[] _slots = new int[128]; // one more than an entry's number; zero is free
    private int _count;

    /// <summary>The n-th entry of an id, counted from zero; false when there are no more.</summary>
    internal bool TryFind(in BlobId id, int ordinal, out Entry entry)
    {
        for (var slot = SlotOf(id); _slots[slot] != 0; slot = (slot + 1) & (_slots.Length - 1))
        {
            ref var candidate = ref _entries[_slots[slot] - 1];
            if (candidate.Id == id && ordinal-- == 0)
            {
                entry = candidate;
                return true;
            }
        }

        entry = default;
        return false;
    }

    /// <summary>Adds an entry, unless the very same one is there.</summary>
    internal void Add(in Entry entry)
    {
        var slot = SlotOf(entry.Id);
        for (; _slots[slot] != 0; slot = (slot + 1) & (_slots.Length - 1))
        {
            if (_entries[_slots[slot] - 1] == entry)
            {
                return;
            }
        }

        if (_count == _entries.Length)
        {
            Array.Resize(ref _entries, checked(_entries.Length * 2));
        }

        _entries[_count++] = entry;
        _slots[slot] = _count;
        if (_count > _slots.Length / 2)
        {
            Grow();
        }
    }

    private void Grow()
    {
        _slots = new int[checked(_slots.Length * 2)];
        for (var number = 0; number < _count; number++)
        {
            var slot = SlotOf(_entries[number].Id);
            while (_slots[slot] != 0)
            {
                slot = (slot + 1) & (_slots.Length - 1);
            }

            _slots[slot] = number + 1;
        }
    }

    private int SlotOf(in BlobId id) => (int)(id.Hash & (ulong)(_slots.Length - 1));

    /// <summary>One place of one blob.</summary>
    internal readonly record struct Entry(
        BlobId Id, int PackNumber, uint Offset, uint SealedLength, uint UncompressedLength);
}
