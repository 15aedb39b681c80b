namespace Tidemark.Cli.Demo;

/// <summary>
/// The guest's own record of what it wrote: numbered, in order, one at a time. The demo judges restored disks by it and
/// by nothing that the engine or the repository says.
/// </summary>
/// <remarks>Thread-safe: one writer, any number of readers.</remarks>
internal sealed class GuestLog
{
    private readonly Lock _gate = new();
    private readonly List<GuestWrite> _writes = [];
    private int _acknowledgedCount;

    /// <summary>How many writes were sent.</summary>
    public int BegunCount
    {
        get
        {
            lock (_gate)
            {
                return _writes.Count;
            }
        }
    }

    /// <summary>How many writes the disk has acknowledged: all or all but one of those sent.</summary>
    public int AcknowledgedCount => Volatile.Read(ref _acknowledgedCount);

    /// <summary>Notes a write before it is sent.</summary>
    public GuestWrite Begin(long offset, int length, ContentKind kind, ulong seed)
    {
        lock (_gate)
        {
            var write = new GuestWrite(_writes.Count + 1, offset, length, kind, seed);
            _writes.Add(write);
            return write;
        }
    }

    /// <summary>Notes that the disk has acknowledged a write.</summary>
    public void Acknowledge(GuestWrite write) => Volatile.Write(ref _acknowledgedCount, write.Number);

    /// <summary>The writes with numbers above the first and up to the second.</summary>
    public IReadOnlyList<GuestWrite> Between(int after, int upTo)
    {
        lock (_gate)
        {
            return _writes[after..upTo];
        }
    }
}
