using System.Text.Json;
using Tidemark.Qmp;

namespace Tidemark.Backup.Tests.Interop;

/// <summary>A monitor that fails at one command of its life.</summary>
internal sealed class FaultyMonitor(IMonitor inner, int failAt, Fault fault) : IMonitor
{
    private readonly TaskCompletionSource _closed = new();
    private int _count;

    internal bool HasFailed { get; private set; }

    public Task Closed => Task.WhenAny(inner.Closed, _closed.Task);

    public async Task<JsonElement> ExecuteAsync(QmpCommand command, CancellationToken cancellationToken = default)
    {
        if (_closed.Task.IsCompleted)
        {
            throw Gone(command);
        }

        if (Interlocked.Increment(ref _count) != failAt)
        {
            return await inner.ExecuteAsync(command, cancellationToken);
        }

        HasFailed = true;
        if (fault == Fault.Refused)
        {
            throw new QmpException(QmpException.GenericError, "refused by the test", command.Name);
        }

        // The hypervisor carries the command out, and nobody learns of it.
        try
        {
            if (fault != Fault.Closed)
            {
                await inner.ExecuteAsync(command, cancellationToken);
            }
        }
        catch (QmpException)
        {
            // Its answer does not arrive either way.
        }

        await inner.DisposeAsync();
        _closed.TrySetResult();
        throw Gone(command);
    }

    public QmpEventSubscription Subscribe() => inner.Subscribe();

    public async ValueTask DisposeAsync()
    {
        _closed.TrySetResult();
        await inner.DisposeAsync();
    }

    private static QmpException Gone(QmpCommand command) =>
        new(QmpException.MonitorClosed, "the monitor was closed by the test", command.Name);
}
