using System.Buffers;
using Tidemark.Blocks.Copy;

namespace Tidemark.Blocks.Buffers;

/// <summary>
/// Lends memory up to a budget of bytes. Renting past the budget waits, in order of arrival, until others give back:
/// this is what bounds the bytes in flight of a copy.
/// </summary>
/// <remarks>Thread-safe. The arrays come from the shared array pool and are not cleared.</remarks>
public sealed class BufferPool
{
    private readonly Lock _gate = new();
    private readonly Queue<Waiter> _waiting = [];
    private readonly bool _inline;
    private long _free;

    /// <summary>Creates a pool.</summary>
    /// <param name="budget">How many bytes may be lent at one time.</param>
    public BufferPool(long budget)
        : this(budget, inlineContinuations: false)
    {
    }

    internal BufferPool(long budget, bool inlineContinuations)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(budget);
        Budget = budget;
        _free = budget;
        _inline = inlineContinuations;
    }

    /// <summary>How many bytes may be lent at one time.</summary>
    public long Budget { get; }

    /// <summary>How many bytes are lent at this moment.</summary>
    public long Lent
    {
        get
        {
            lock (_gate)
            {
                return Budget - _free;
            }
        }
    }

    /// <summary>
    /// Rents memory of exactly this length; the caller disposes it when no I/O can touch it any more.
    /// </summary>
    /// <exception cref="ArgumentOutOfRangeException">More than the whole budget is asked for: it would wait for
    /// ever.</exception>
    public ValueTask<RentedBuffer> RentAsync(int length, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Budget);
        Waiter waiter;
        lock (_gate)
        {
            if (_waiting.Count == 0 && _free >= length)
            {
                _free -= length;
                return new ValueTask<RentedBuffer>(Lend(length));
            }

            waiter = new Waiter(length, _inline);
            _waiting.Enqueue(waiter);
        }

        return RentSlowlyAsync(waiter, cancellationToken);
    }

    internal void GiveBack(byte[] array, int length)
    {
        ArrayPool<byte>.Shared.Return(array);
        Free(length);
    }

    private async ValueTask<RentedBuffer> RentSlowlyAsync(Waiter waiter, CancellationToken cancellationToken)
    {
        // A cancelled waiter stays in the queue until its turn; whoever finds it there passes the turn on.
        using (cancellationToken.UnsafeRegister(
            static (state, token) => ((Waiter)state!).TrySetCanceled(token), waiter))
        {
            await waiter.Task.ConfigureAwait(false);
        }

        return Lend(waiter.Length);
    }

    private void Free(int length)
    {
        List<Waiter>? grants = null;
        lock (_gate)
        {
            _free += length;
            while (_waiting.TryPeek(out var next) && (next.IsGivenUp || next.Length <= _free))
            {
                _waiting.Dequeue();
                if (!next.IsGivenUp)
                {
                    _free -= next.Length;
                    (grants ??= []).Add(next);
                }
            }
        }

        foreach (var grant in grants ?? [])
        {
            // Cancelled since it was looked at: the bytes go to whoever is next.
            if (!grant.TrySetResult())
            {
                Free(grant.Length);
            }
        }
    }

    private RentedBuffer Lend(int length) => new(this, ArrayPool<byte>.Shared.Rent(length), length);

    private sealed class Waiter(int length, bool inline) : TaskCompletionSource(Signal.Options(inline))
    {
        public int Length => length;

        public bool IsGivenUp => Task.IsCompleted;
    }
}
