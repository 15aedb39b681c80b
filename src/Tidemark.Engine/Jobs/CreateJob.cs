using Tidemark.Engine.Events;

namespace Tidemark.Engine.Jobs;

/// <summary><c>blockdev-create</c>: makes a file, or an image in a node.</summary>
internal sealed class CreateJob(string id, IEventSink events, Func<CancellationToken, Task> work, Action release)
    : Job(id, events)
{
    private bool _done;

    /// <inheritdoc/>
    internal override string Type => "create";

    /// <inheritdoc/>
    internal override long CurrentProgress => _done ? 1 : 0;

    /// <inheritdoc/>
    internal override long TotalProgress => 1;

    /// <inheritdoc/>
    internal override async Task RunAsync(CancellationToken cancellationToken)
    {
        try
        {
            await work(cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _done = true;
        }
    }

    /// <inheritdoc/>
    internal override ValueTask CommitAsync()
    {
        release();
        return default;
    }

    /// <inheritdoc/>
    internal override ValueTask AbortAsync()
    {
        release();
        return default;
    }
}
