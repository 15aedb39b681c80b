using System.Threading.Tasks.Sources;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

/// <summary>
/// One place among the requests in flight of a connection, used again and again: what is asked, where the answer goes,
/// and the task that the caller awaits.
/// </summary>
/// <remarks>
/// States: free (in the client's stack) → registered (the cookie is valid, before a byte is sent) → answered or failed
/// (by the receive loop alone) → its caller took the result → free. The memory that the caller lent is touched by
/// nobody after "answered or failed". Continuations run on the thread pool: one that blocked on the receive loop would
/// stop all replies. Only who says that theirs never do gets them there (InlineCompletions).
/// </remarks>
internal sealed class PendingRequest : IValueTaskSource, IThreadPoolWorkItem
{
    private readonly NbdClient _client;
    private ManualResetValueTaskSourceCore<bool> _core;
    private CancellationTokenRegistration _registration;
    private CancellationToken _cancellation;
    private Exception? _outcome;

    internal PendingRequest(NbdClient client, int index)
    {
        _client = client;
        Index = index;
    }

    /// <summary>Its number among the places.</summary>
    internal int Index { get; }

    /// <summary>Whether a reply is awaited. Guarded by the client's gate.</summary>
    internal bool IsRegistered { get; set; }

    /// <summary>The header as it was sent.</summary>
    internal RequestHeader Header { get; set; }

    /// <summary>Where a read's bytes go; lent by the caller.</summary>
    internal Memory<byte> Target { get; set; }

    /// <summary>What gives a read its memory when its bytes come; null when <see cref="Target"/> is there.</summary>
    internal ILateTarget? Late { get; set; }

    /// <summary>Where block status goes; lent by the caller.</summary>
    internal List<NbdExtent>? Extents { get; set; }

    /// <summary>The context whose extents are wanted.</summary>
    internal uint ContextId { get; set; }

    /// <summary>Whether the wanted context's chunk has come. The receive loop's.</summary>
    internal bool HasStatus { get; set; }

    /// <summary>The first error chunk. The receive loop's.</summary>
    internal NbdException? Error { get; set; }

    /// <summary>What has come of a read. The receive loop's.</summary>
    internal ChunkCoverage Coverage { get; } = new();

    /// <summary>When the caller gave up, as a time stamp; 0 if it did not.</summary>
    internal long CancelledAt { get; set; }

    /// <summary>When it was sent, as a time stamp; only where there is a deadline.</summary>
    internal long SubmittedAt { get; set; }

    /// <summary>The offset after the last byte.</summary>
    internal long End => (long)Header.Offset + Length;

    /// <summary>The length of the range that is asked for.</summary>
    internal long Length { get; set; }

    /// <summary>The task for the caller; awaited once.</summary>
    internal ValueTask Task => new(this, _core.Version);

    /// <summary>Makes the place ready for another request.</summary>
    internal void Reset()
    {
        _core.Reset();
        _outcome = null;
        Error = null;
        HasStatus = false;
        CancelledAt = 0;
        _cancellation = default;
        Coverage.Clear();
    }

    /// <summary>Watches the caller's token from here on.</summary>
    internal void Watch(CancellationToken cancellationToken)
    {
        _cancellation = cancellationToken;
        if (cancellationToken.CanBeCanceled)
        {
            _registration = cancellationToken.UnsafeRegister(
                static state => ((PendingRequest)state!)._client.Abandon((PendingRequest)state), this);
        }
    }

    /// <summary>The memory of a read whose bytes come. The receive loop's.</summary>
    internal Span<byte> TakeTarget()
    {
        if (Late is { } late)
        {
            Late = null;
            Target = late.Take((int)Length);
        }

        return Target.Span;
    }

    /// <summary>The receive loop's last word: nobody touches the caller's memory any more.</summary>
    /// <param name="failure">Why it failed; null for success.</param>
    internal void Complete(Exception? failure)
    {
        _outcome = failure;
        Target = default;
        Late = null;
        Extents = null;
        if (_client.InlineCompletions)
        {
            ((IThreadPoolWorkItem)this).Execute();
        }
        else
        {
            ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
        }
    }

    void IThreadPoolWorkItem.Execute()
    {
        if (_outcome is null)
        {
            _core.SetResult(true);
        }
        else if (CancelledAt != 0 && _outcome is not NbdException { Error: not NbdError.None })
        {
            _core.SetException(new OperationCanceledException(_outcome.Message, _outcome, _cancellation));
        }
        else
        {
            _core.SetException(_outcome);
        }
    }

    void IValueTaskSource.GetResult(short token)
    {
        // Waits for a cancellation that is just being noticed, so that it cannot hit the place's next request.
        _registration.Dispose();
        _registration = default;
        try
        {
            _core.GetResult(token);
        }
        finally
        {
            _client.Free(this);
        }
    }

    ValueTaskSourceStatus IValueTaskSource.GetStatus(short token) => _core.GetStatus(token);

    void IValueTaskSource.OnCompleted(
        Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags);
}
