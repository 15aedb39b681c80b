namespace Tidemark.Qcow2.Metadata;

/// <summary>
/// Tells when every request that may still use an old mapping has ended. A request enters before it looks a mapping
/// up and leaves when its data I/O is done. A cluster that was unmapped in one epoch is used again only after the epoch
/// has been advanced and its requests have left: so no late read or write meets a cluster that has become another's.
/// </summary>
/// <remarks>Thread-safe; two counters, picked by the epoch's parity, are enough because an epoch is only advanced when
/// the one before it is empty.</remarks>
internal sealed class RequestEpochs
{
    private long _even;
    private long _odd;
    private long _epoch;

    /// <summary>Enters; the result is given to <see cref="Leave"/>.</summary>
    internal int Enter()
    {
        while (true)
        {
            var epoch = Volatile.Read(ref _epoch);
            Interlocked.Increment(ref Counter((int)(epoch & 1)));

            // Counted in an epoch that was advanced meanwhile, the request could be missed: count again.
            if (Volatile.Read(ref _epoch) == epoch)
            {
                return (int)(epoch & 1);
            }

            Interlocked.Decrement(ref Counter((int)(epoch & 1)));
        }
    }

    internal void Leave(int ticket) => Interlocked.Decrement(ref Counter(ticket));

    /// <summary>Begins a new epoch; what entered before is counted apart.</summary>
    /// <returns>False when requests of the epoch before the present one are still there.</returns>
    internal bool TryAdvance()
    {
        if (!IsPreviousEmpty)
        {
            return false;
        }

        Interlocked.Increment(ref _epoch);
        return true;
    }

    /// <summary>Whether all requests that entered before the last advance have left.</summary>
    internal bool IsPreviousEmpty => Interlocked.Read(ref Counter((int)((Volatile.Read(ref _epoch) + 1) & 1))) == 0;

    private ref long Counter(int parity) => ref parity == 0 ? ref _even : ref _odd;
}
