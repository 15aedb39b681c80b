namespace Tidemark.Engine;

/// <summary>
/// One at a time: commands of every monitor and the ends of jobs. What QEMU's main loop is to its commands; guests'
/// requests never pass here.
/// </summary>
internal sealed class CommandGate : IDisposable
{
    private readonly SemaphoreSlim _one = new(1, 1);

    /// <inheritdoc/>
    public void Dispose() => _one.Dispose();

    /// <summary>Waits for its turn; disposal of the result ends it. Not re-entrant.</summary>
    internal async ValueTask<Turn> EnterAsync(CancellationToken cancellationToken)
    {
        await _one.WaitAsync(cancellationToken).ConfigureAwait(false);
        return new Turn(_one);
    }

    /// <summary>A turn at the gate.</summary>
    internal readonly struct Turn(SemaphoreSlim one) : IDisposable
    {
        /// <inheritdoc/>
        public void Dispose() => one.Release();
    }
}
