using System.Buffers;
using Tidemark.Repository.Blobs;
using Tidemark.Repository.Flow;
using Tidemark.Repository.Packs;

namespace Tidemark.Repository.Disks;

// Every chunk of the disk is decided by its writer's owner, one call a chunk:
//
//   put        its content was read: the bytes are stored (or known already), their digest is the id
//   put zero   it reads as zero: the id is that of the well-known blob of zeroes, which is stored once
//   inherit    it is said to be unchanged since the parent: the parent's id stands, nothing was read
//
//              put, put zero                     put, put zero
//   UNDECIDED ───────────────> DECIDED BY CONTENT <───────────── INHERITED
//        └──────────────────────── inherit ──────────────────────────^
//
// Why inheritance cannot miss a block. A chunk is inherited only by an explicit call for that very chunk; there is no
// default. A chunk of which nothing was said makes Complete fail, so forgetting one is an error and not an old block.
// Content beats inheritance: a chunk that was put cannot be inherited afterwards (that is refused, for one of the two
// statements is wrong), and one that was inherited may still be put, because bytes that were read are the truth.
// The id comes from the same position of a parent with the same chunk size, and only if both chunks have the same
// length; the caller answers for the chunk being clean, and for the parent being the point where the bitmap began
// (DESIGN, identity). Last, the blob must be in the index, in a pack that exists, with the right length: a chunk whose
// blob was lost is refused and must be put.
//
// A chunk may be put again (a guest's cluster arrives twice in push mode): the last call wins, by the order in which
// the calls were made, not by the order in which encoders finish. Each call takes a version; an encoder's result
// counts only if the chunk still has that version.

/// <summary>Takes the content of one disk, chunk by chunk, in any order and from any thread.</summary>
public sealed class DiskWriter
{
    private readonly Repository _repository;
    private readonly BlobWriter _blobs;
    private readonly DiskIndex? _parent;
    private readonly PendingCount _pending = new();
    private readonly Lock _gate = new();

    // Guarded by _gate.
    private readonly BlobId[] _ids;
    private readonly ChunkState[] _states;
    private readonly int[] _versions;
    private readonly HashSet<int> _zeroLengths = [];
    private long _bytesStored;
    private DiskIndex? _completed;

    internal DiskWriter(
        Repository repository, BlobWriter blobs, string name, long length, int chunkSize, DiskIndex? parent)
    {
        DiskIndex.CheckGeometry(name, length, chunkSize);
        _repository = repository;
        _blobs = blobs;
        _parent = parent;
        Name = name;
        Length = length;
        ChunkSize = chunkSize;
        Count = DiskIndex.ChunkCountOf(length, chunkSize);
        _ids = new BlobId[Count];
        _states = new ChunkState[Count];
        _versions = new int[Count];
    }

    /// <summary>The disk's name.</summary>
    public string Name { get; }

    /// <summary>The disk's length in bytes.</summary>
    public long Length { get; }

    /// <summary>The length of a chunk in bytes.</summary>
    public int ChunkSize { get; }

    /// <summary>How many chunks there are.</summary>
    public int Count { get; }

    /// <summary>What became of the chunks so far.</summary>
    public DiskWriteCounters Counters
    {
        get
        {
            Span<int> counts = stackalloc int[6];
            lock (_gate)
            {
                foreach (var state in _states)
                {
                    counts[(int)state]++;
                }

                return new DiskWriteCounters(
                    New: counts[(int)ChunkState.New],
                    Known: counts[(int)ChunkState.Known],
                    Zero: counts[(int)ChunkState.Zero],
                    Inherited: counts[(int)ChunkState.Inherited],
                    Undecided: counts[(int)ChunkState.Undecided] + counts[(int)ChunkState.Pending],
                    _bytesStored);
            }
        }
    }

    /// <summary>The length of a chunk in bytes: <see cref="ChunkSize"/>, less for the last one.</summary>
    public int LengthOf(int index) => DiskIndex.LengthOf(CheckIndex(index), Length, ChunkSize);

    /// <summary>
    /// Takes a chunk's content. It is copied: when the task completes, the memory is the caller's again, while hashing,
    /// compression and storing go on. Waits while too many bytes are under way. A later put of the same chunk wins.
    /// </summary>
    /// <param name="index">The chunk.</param>
    /// <param name="content">All of its <see cref="LengthOf"/> bytes.</param>
    /// <param name="cancellationToken">Cancels; the chunk is then undecided.</param>
    /// <exception cref="RepositoryException">The run has failed; it is the first error, whoever met it.</exception>
    public async ValueTask PutChunkAsync(
        int index, ReadOnlyMemory<byte> content, CancellationToken cancellationToken = default)
    {
        if (content.Length != LengthOf(index))
        {
            throw new ArgumentException(
                $"chunk {index} of disk '{Name}' has {LengthOf(index)} bytes, not {content.Length}", nameof(content));
        }

        if (!content.Span.ContainsAnyExcept((byte)0))
        {
            PutZero(index);
            return;
        }

        var buffer = ArrayPool<byte>.Shared.Rent(content.Length);
        content.CopyTo(buffer);
        var version = Begin(index);
        var job = new ChunkJob(this, index, version, buffer.AsMemory(0, content.Length), buffer);
        _pending.Add();
        await _blobs.EnqueueAsync(job, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Says that a chunk is all zero.</summary>
    /// <exception cref="RepositoryException">The run has failed.</exception>
    public void PutZero(int index)
    {
        var length = LengthOf(index);
        var id = DiskIndex.ZeroId(length);
        bool first;
        lock (_gate)
        {
            CheckOpen();
            first = _zeroLengths.Add(length);
            _versions[index]++;
            _ids[index] = id;
            _states[index] = ChunkState.Zero;
        }

        if (first)
        {
            // Index -1: nothing waits for this blob's id, which is known; a failure fails the run.
            _pending.Add();
            _blobs.EnqueueAtOnce(new ChunkJob(this, ZeroBlob, 0, new byte[length], null));
        }
    }

    /// <summary>Whether a chunk could be inherited, with the reason if not.</summary>
    public bool CanInherit(int index, out string reason)
    {
        var length = LengthOf(index);
        reason = _parent is null ? "there is no parent"
            : _parent.ChunkSize != ChunkSize ? $"the parent's chunks have {_parent.ChunkSize} bytes, not {ChunkSize}"
            : index >= _parent.Count ? $"the parent ends before it, at {_parent.Length}"
            : _parent.LengthOf(index) != length ? $"it has {_parent.LengthOf(index)} bytes in the parent, not {length}"
            : !_repository.HasChunk(_parent, index) ? $"its blob '{_parent[index]}' is not in the repository any more"
            : "";
        return reason.Length == 0;
    }

    /// <summary>
    /// Says that a chunk is unchanged since the parent; its id stands. Whoever calls this answers for it.
    /// </summary>
    /// <exception cref="RepositoryException">
    /// It cannot be inherited (<see cref="CanInherit"/>; a lost blob is <see
    /// cref="RepositoryErrorKind.MissingBlob"/>), or
    /// was put before.
    /// </exception>
    public void Inherit(int index)
    {
        if (!CanInherit(index, out var reason))
        {
            var known = _parent is not null && index < _parent.Count && !_repository.HasChunk(_parent, index);
            throw new RepositoryException(
                known ? RepositoryErrorKind.MissingBlob : RepositoryErrorKind.Invalid,
                $"chunk {index} of disk '{Name}' cannot be inherited: {reason}. It must be read");
        }

        lock (_gate)
        {
            CheckOpen();
            if (_states[index] is not (ChunkState.Undecided or ChunkState.Inherited) || _versions[index] > 0)
            {
                throw new RepositoryException(
                    RepositoryErrorKind.Invalid,
                    $"chunk {index} of disk '{Name}' was put, and cannot be said to be unchanged afterwards");
            }

            _ids[index] = _parent![index];
            _states[index] = ChunkState.Inherited;
        }
    }

    /// <summary>Whether something was decided of a chunk, content still under way included.</summary>
    public bool IsDecided(int index)
    {
        CheckIndex(index);
        lock (_gate)
        {
            return _states[index] != ChunkState.Undecided;
        }
    }

    /// <summary>Reads a chunk as it was last decided, stored or not; for a writer that must change a part of
    /// one.</summary>
    /// <param name="index">The chunk; something must have been decided of it.</param>
    /// <param name="target">Memory of the chunk's exact length.</param>
    /// <param name="cancellationToken">Cancels.</param>
    public async ValueTask ReadChunkAsync(int index, Memory<byte> target, CancellationToken cancellationToken = default)
    {
        await _pending.WaitAsync(cancellationToken).ConfigureAwait(false);
        _blobs.ThrowIfFailed();
        BlobId id;
        lock (_gate)
        {
            if (_states[CheckIndex(index)] is ChunkState.Undecided or ChunkState.Pending)
            {
                throw new RepositoryException(
                    RepositoryErrorKind.Incomplete,
                    $"chunk {index} of disk '{Name}' cannot be read: it was not decided");
            }

            if (_states[index] == ChunkState.Zero)
            {
                target.Span.Clear();
                return;
            }

            id = _ids[index];
        }

        await _blobs.ReadAsync(_repository, id, target, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// Waits until every chunk has its id, and returns the complete list. Nothing can be put afterwards. What it names
    /// is durable only after <see cref="Snapshots.SnapshotWriter.CommitAsync"/>.
    /// </summary>
    /// <exception cref="RepositoryException">A chunk is undecided, or the run has failed.</exception>
    public async ValueTask<DiskIndex> CompleteAsync(CancellationToken cancellationToken = default)
    {
        await _pending.WaitAsync(cancellationToken).ConfigureAwait(false);
        _blobs.ThrowIfFailed();
        lock (_gate)
        {
            var undecided = _states.AsSpan().IndexOfAny(ChunkState.Undecided, ChunkState.Pending);
            if (undecided >= 0)
            {
                throw new RepositoryException(
                    RepositoryErrorKind.Incomplete,
                    $"disk '{Name}' is not complete: nothing was decided of chunk {undecided}, at offset "
                    + $"{(long)undecided * ChunkSize}");
            }

            return _completed ??= new DiskIndex(Name, Length, ChunkSize, _ids);
        }
    }

    // The id of a chunk is known; it counts if the chunk was not put again meanwhile.
    internal void Settle(int index, int version, BlobId id, bool isNew, long bytesStored)
    {
        lock (_gate)
        {
            _bytesStored += bytesStored;
            if (index != ZeroBlob && _versions[index] == version)
            {
                _ids[index] = id;
                _states[index] = isNew ? ChunkState.New : ChunkState.Known;
            }
        }

        _pending.Done();
    }

    // A chunk could not be stored.
    internal void Unsettle(int index, int version)
    {
        lock (_gate)
        {
            if (index != ZeroBlob && _versions[index] == version)
            {
                _states[index] = ChunkState.Undecided;
            }
        }

        _pending.Done();
    }

    private const int ZeroBlob = -1;

    private int Begin(int index)
    {
        lock (_gate)
        {
            CheckOpen();
            _states[index] = ChunkState.Pending;
            return ++_versions[index];
        }
    }

    private void CheckOpen()
    {
        if (_completed is not null)
        {
            throw new InvalidOperationException($"disk '{Name}' is complete");
        }
    }

    private int CheckIndex(int index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, Count);
        return index;
    }
}
