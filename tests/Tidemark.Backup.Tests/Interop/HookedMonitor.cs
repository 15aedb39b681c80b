using System.Text.Json;
using Tidemark.Qmp;

namespace Tidemark.Backup.Tests.Interop;

/// <summary>A monitor at which something happens before a command is sent for the first time.</summary>
internal sealed class HookedMonitor(IMonitor inner, string command, Func<Task> before) : IMonitor
{
    private int _calls;

    public Task Closed => inner.Closed;

    public async Task<JsonElement> ExecuteAsync(QmpCommand qmp, CancellationToken cancellationToken = default)
    {
        if (qmp.Name == command && Interlocked.Increment(ref _calls) == 1)
        {
            await before();
        }

        return await inner.ExecuteAsync(qmp, cancellationToken);
    }

    public QmpEventSubscription Subscribe() => inner.Subscribe();

    public ValueTask DisposeAsync() => inner.DisposeAsync();
}
