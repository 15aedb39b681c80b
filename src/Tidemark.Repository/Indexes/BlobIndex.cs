using Tidemark.Repository.Blobs;
using Tidemark.Repository.Packs;

namespace Tidemark.Repository.Indexes;

/// <summary>Where the blobs of a repository lie, in memory. Thread-safe.</summary>
internal sealed class BlobIndex
{
    private readonly Lock _gate = new();

    // Guarded by _gate.
    private readonly BlobTable[] _tables = [new(), new()];
    private readonly List<BlobId> _packs = [];
    private readonly List<long> _ends = []; // where each pack's last known blob ends
    private readonly List<bool> _missing = [];
    private readonly Dictionary<BlobId, int> _packNumbers = [];

    /// <summary>The n-th place of a blob, counted from zero; packs that are missing are passed over.</summary>
    internal bool TryFind(BlobType type, in BlobId id, out BlobLocation location, int ordinal = 0)
    {
        lock (_gate)
        {
            for (var place = 0; _tables[(int)type].TryFind(id, place, out var entry); place++)
            {
                if (!_missing[entry.PackNumber] && ordinal-- == 0)
                {
                    location = new BlobLocation(
                        _packs[entry.PackNumber], entry.Offset, entry.SealedLength, entry.UncompressedLength);
                    return true;
                }
            }
        }

        location = default;
        return false;
    }

    /// <summary>Whether a pack is named.</summary>
    internal bool HasPack(BlobId pack)
    {
        lock (_gate)
        {
            return _packNumbers.ContainsKey(pack);
        }
    }

    /// <summary>Adds a pack's blobs.</summary>
    internal void Add(BlobId pack, IEnumerable<PackEntry> entries)
    {
        lock (_gate)
        {
            if (!_packNumbers.TryGetValue(pack, out var number))
            {
                number = _packs.Count;
                _packs.Add(pack);
                _missing.Add(false);
                _ends.Add(0);
                _packNumbers.Add(pack, number);
            }

            foreach (var entry in entries)
            {
                _ends[number] = Math.Max(_ends[number], (long)entry.Offset + entry.SealedLength);
                _tables[(int)entry.Type].Add(new BlobTable.Entry(
                    entry.Id, number, entry.Offset, entry.SealedLength, entry.UncompressedLength));
            }
        }
    }

    /// <summary>
    /// Says which packs exist, with their lengths. Blobs of packs that are missing or cut off are no longer found, so
    /// that they are stored again and never referred to.
    /// </summary>
    /// <returns>The packs that an index file names and that are missing or cut off.</returns>
    internal List<BlobId> SetExistingPacks(IReadOnlyDictionary<BlobId, long> lengths)
    {
        var missing = new List<BlobId>();
        lock (_gate)
        {
            for (var number = 0; number < _packs.Count; number++)
            {
                // A whole pack is longer than its blobs: the header follows them.
                _missing[number] = !lengths.TryGetValue(_packs[number], out var length) || length <= _ends[number];
                if (_missing[number])
                {
                    missing.Add(_packs[number]);
                }
            }
        }

        return missing;
    }
}
