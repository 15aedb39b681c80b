using Tidemark.Blocks.Extents;

namespace Tidemark.Blocks.Copy;

/// <summary>A run of clusters that is being copied. While it is listed, nobody else copies them.</summary>
internal sealed class BlockCopyStep(long offset, long length, bool inline)
{
    private readonly TaskCompletionSource<Exception?> _completion = new(Signal.Options(inline));

    internal long Offset => offset;

    internal long Length => length;

    /// <summary>The extents of the source in this step.</summary>
    internal ExtentList Extents { get; } = new();

    /// <summary>Whether the step is, or was when it failed, reading the source.</summary>
    internal bool IsReading { get; set; }

    /// <summary>
    /// Waits until the step has ended; the step goes on if the wait is cancelled. Null when all clusters are on the
    /// target, or why not. When the copy is stopped it ends before the step's I/O does.
    /// </summary>
    internal async ValueTask<Exception?> WaitAsync(CancellationToken cancellationToken)
    {
        await Signal.WaitAsync(_completion.Task, inline, cancellationToken).ConfigureAwait(false);
        return await _completion.Task.ConfigureAwait(false);
    }

    internal void Complete(Exception? error) => _completion.TrySetResult(error);

    internal bool Overlaps(long from, long count) => offset < from + count && from < offset + length;
}
