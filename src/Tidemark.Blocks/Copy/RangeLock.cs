// Who is busy with which bytes, and who waits for whom: QEMU's tracked requests (block/io.c) and reqlist
// (block/reqlist.c) in one small class.
//
// Everybody who enters is put at the end of one list, and then waits until no entry before it is in its way. Two
// entries are in each other's way when their ranges overlap and at least one of them is exclusive. So there are no
// grants to hand on, no starvation (nobody passes an earlier entry that is in the way), and no deadlock among entries
// that hold one range each: everybody waits only for earlier ones.
//
// The list is short: it holds requests under way, and those are bounded by their callers. A plain scan is enough.

namespace Tidemark.Blocks.Copy;

/// <summary>Shared and exclusive holds of byte ranges, in order of arrival.</summary>
/// <remarks>
/// Thread-safe. <see cref="Break"/> gives the lock up for good: all who wait are let through at once.
/// </remarks>
public sealed class RangeLock
{
    private readonly Lock _gate = new();
    private readonly List<Entry> _entries = [];
    private readonly bool _inline;
    private volatile bool _broken;

    /// <summary>Creates a lock that nobody holds.</summary>
    public RangeLock()
        : this(inlineContinuations: false)
    {
    }

    internal RangeLock(bool inlineContinuations) => _inline = inlineContinuations;

    /// <summary>How many hold or wait at this moment.</summary>
    public int Count
    {
        get
        {
            lock (_gate)
            {
                return _entries.Count;
            }
        }
    }

    /// <summary>Enters beside other shared holders; waits for exclusive ones that came before and overlap.</summary>
    public ValueTask<Entry> EnterSharedAsync(long offset, long length, CancellationToken cancellationToken = default) =>
        EnterAsync(offset, length, exclusive: false, cancellationToken);

    /// <summary>Enters alone; waits for everybody who came before and overlaps.</summary>
    public ValueTask<Entry> EnterExclusiveAsync(
        long offset, long length, CancellationToken cancellationToken = default) =>
        EnterAsync(offset, length, exclusive: true, cancellationToken);

    /// <summary>Enters shared without waiting: for locks that nobody enters exclusively.</summary>
    internal Entry Register(long offset, long length)
    {
        var entry = new Entry(this, offset, length, exclusive: false);
        lock (_gate)
        {
            _entries.Add(entry);
        }

        return entry;
    }

    /// <summary>Whether anybody holds or waits for a byte of the range.</summary>
    internal bool IsHeld(long offset, long length)
    {
        lock (_gate)
        {
            return FindOverlap(_entries.Count, offset, length, exclusive: true) is not null;
        }
    }

    /// <summary>Waits for everybody who overlaps now, without keeping newcomers out.</summary>
    internal async ValueTask WaitUntilFreeAsync(long offset, long length, CancellationToken cancellationToken)
    {
        List<Task> before = [];
        lock (_gate)
        {
            foreach (var entry in _entries)
            {
                if (entry.Overlaps(offset, length))
                {
                    before.Add(entry.Released(_inline));
                }
            }
        }

        foreach (var released in before)
        {
            await Signal.WaitAsync(released, _inline, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Gives up: whoever waits is let through, and nobody waits from here on.</summary>
    internal void Break()
    {
        Entry[] entries;
        lock (_gate)
        {
            _broken = true;
            entries = [.. _entries];
            _entries.Clear();
        }

        foreach (var entry in entries)
        {
            entry.SignalReleased();
        }
    }

    private ValueTask<Entry> EnterAsync(long offset, long length, bool exclusive, CancellationToken cancellationToken)
    {
        var entry = new Entry(this, offset, length, exclusive);
        lock (_gate)
        {
            if (_broken)
            {
                return new ValueTask<Entry>(entry);
            }

            var mustWait = FindOverlap(_entries.Count, offset, length, exclusive) is not null;
            _entries.Add(entry);
            if (!mustWait)
            {
                return new ValueTask<Entry>(entry);
            }
        }

        return WaitTurnAsync(entry, cancellationToken);
    }

    private async ValueTask<Entry> WaitTurnAsync(Entry entry, CancellationToken cancellationToken)
    {
        try
        {
            while (true)
            {
                Task released;
                lock (_gate)
                {
                    var before = _entries.IndexOf(entry);
                    var inTheWay = before <= 0
                        ? null
                        : FindOverlap(before, entry.Offset, entry.Length, entry.IsExclusive);
                    if (inTheWay is null)
                    {
                        return entry;
                    }

                    released = inTheWay.Released(_inline);
                }

                await Signal.WaitAsync(released, _inline, cancellationToken).ConfigureAwait(false);
            }
        }
        catch
        {
            entry.Dispose();
            throw;
        }
    }

    private Entry? FindOverlap(int before, long offset, long length, bool exclusive)
    {
        for (var index = 0; index < before; index++)
        {
            var entry = _entries[index];
            if ((exclusive || entry.IsExclusive) && entry.Overlaps(offset, length))
            {
                return entry;
            }
        }

        return null;
    }

    private void Leave(Entry entry)
    {
        lock (_gate)
        {
            _entries.Remove(entry);
        }

        entry.SignalReleased();
    }

    /// <summary>One hold of a range; disposal lets go.</summary>
    public sealed class Entry : IDisposable
    {
        private readonly RangeLock _owner;
        private TaskCompletionSource? _released;

        internal Entry(RangeLock owner, long offset, long length, bool exclusive)
        {
            _owner = owner;
            Offset = offset;
            Length = length;
            IsExclusive = exclusive;
        }

        /// <summary>The first byte held.</summary>
        public long Offset { get; }

        /// <summary>How many bytes are held.</summary>
        public long Length { get; }

        /// <summary>Whether nobody else may hold any of them.</summary>
        public bool IsExclusive { get; }

        /// <summary>Lets go; more than once does nothing.</summary>
        public void Dispose() => _owner.Leave(this);

        internal bool Overlaps(long offset, long length) => Offset < offset + length && offset < Offset + Length;

        // Called under the owner's lock, on an entry in its list, so that the signal cannot come before it is asked
        // for.
        internal Task Released(bool inline) => (_released ??= Signal.Create(inline)).Task;

        internal void SignalReleased() => _released?.TrySetResult();
    }
}
