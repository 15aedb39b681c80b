using System.Text.Json;

namespace Tidemark.Qmp;

/// <summary>A hypervisor's monitor: commands in, replies and events out. A real QEMU or the embedded engine.</summary>
/// <remarks>Thread-safe: commands may be issued from several tasks at once; each gets its own reply.</remarks>
public interface IMonitor : IAsyncDisposable
{
    /// <summary>Issues a command and waits for its reply.</summary>
    /// <returns>The value of <c>return</c>; it does not depend on any buffer and may be kept.</returns>
    /// <exception cref="QmpException">The hypervisor refused: its class and description; or the monitor was
    /// closed.</exception>
    Task<JsonElement> ExecuteAsync(QmpCommand command, CancellationToken cancellationToken = default);

    /// <summary>Begins to collect events. What arrives from this moment on is kept until it is read or
    /// disposed.</summary>
    QmpEventSubscription Subscribe();

    /// <summary>Completes when the monitor is closed, by either side; faults with the first error if there was
    /// one.</summary>
    Task Closed { get; }
}
