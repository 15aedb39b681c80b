namespace Tidemark.Nbd.Server;

/// <summary>
/// The bytes that the long requests of one server hold at once. Each connection may always have one request under way,
/// whatever the others do: a client that does not read its replies cannot keep another one waiting.
/// </summary>
/// <remarks>Thread-safe. Waiting blocks; only the leader of a connection waits, and it holds nothing that others
/// need.</remarks>
internal sealed class ByteBudget(long limit)
{
    private readonly object _gate = new();

    // Guarded by _gate.
    private long _taken;

    /// <summary>The bytes that are taken.</summary>
    internal long Taken
    {
        get
        {
            lock (_gate)
            {
                return _taken;
            }
        }
    }

    /// <summary>Takes bytes; waits while there are none left, or the connection has reached its own limit.</summary>
    /// <param name="count">The bytes of one request.</param>
    /// <param name="own">What the connection has taken; changed here only.</param>
    /// <param name="ownLimit">The most that it may.</param>
    internal void Take(long count, ref long own, long ownLimit)
    {
        lock (_gate)
        {
            while (own > 0 && (own + count > ownLimit || _taken + count > limit))
            {
                Monitor.Wait(_gate);
            }

            own += count;
            _taken += count;
        }
    }

    /// <summary>Gives bytes back.</summary>
    internal void GiveBack(long count, ref long own)
    {
        lock (_gate)
        {
            own -= count;
            _taken -= count;
            Monitor.PulseAll(_gate);
        }
    }
}
