using System.Runtime.InteropServices;

namespace Tidemark.Cli.Terminal;

/// <summary>
/// Ctrl-C, SIGTERM and SIGHUP as cancellation: the first one lets the work undo what it began, so that nothing is left
/// on the hypervisor. A second one ends the process at once, for who cannot wait.
/// </summary>
internal sealed class TerminationSignals : IDisposable
{
    private readonly CancellationTokenSource _source = new();
    private readonly PosixSignalRegistration[] _registrations;
    private int _count;

    /// <summary>Begins to listen.</summary>
    /// <param name="console">Where the first signal is answered.</param>
    /// <param name="answer">The answer: what happens now.</param>
    public TerminationSignals(CommandConsole console, string answer) =>
        _registrations = [.. new[] { PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP }.Select(signal =>
            PosixSignalRegistration.Create(signal, context =>
            {
                if (Interlocked.Increment(ref _count) > 1)
                {
                    console.ShowCursor();
                    return;
                }

                context.Cancel = true;
                console.WriteMessage(answer);
                _source.Cancel();
            }))];

    /// <summary>Cancelled by the first signal.</summary>
    public CancellationToken Token => _source.Token;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var registration in _registrations)
        {
            registration.Dispose();
        }

        _source.Dispose();
    }
}
