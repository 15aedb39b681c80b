using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Tests.Filters;

/// <summary>
/// The I/O of one simulated world: nothing completes until it is released, on the one thread there is, in an order that
/// the seed chooses. So a seed replays.
/// </summary>
internal sealed class SteppedWorld(Random random)
{
    private readonly List<SteppedRequest> _pending = [];

    public Random Random => random;

    /// <summary>How likely a request to a failing node fails, of a hundred.</summary>
    public int FailurePercent { get; set; }

    /// <summary>Whether any request has failed.</summary>
    public bool AnyFailed { get; private set; }

    public int PendingCount => _pending.Count;

    /// <summary>Waits until the seed lets the request complete.</summary>
    public async ValueTask StepAsync(bool mayFail)
    {
        var request = new SteppedRequest(mayFail);
        _pending.Add(request);
        await request.Task.ConfigureAwait(false);
    }

    /// <summary>Lets one request complete.</summary>
    public void ReleaseOne()
    {
        var index = random.Next(_pending.Count);
        var request = _pending[index];
        _pending.RemoveAt(index);
        if (request.MayFail && random.Next(100) < FailurePercent)
        {
            AnyFailed = true;
            request.SetException(new BlockException(BlockErrorKind.Io, "injected"));
        }
        else
        {
            request.SetResult();
        }
    }

    private sealed class SteppedRequest(bool mayFail) : TaskCompletionSource
    {
        public bool MayFail => mayFail;
    }
}
