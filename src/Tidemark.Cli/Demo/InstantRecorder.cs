using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Qmp;

namespace Tidemark.Cli.Demo;

/// <summary>
/// A monitor that passes everything on, and notes between which two writes of the guest the instant of a backup lies:
/// the transaction that starts the backup's jobs.
/// </summary>
internal sealed class InstantRecorder(IMonitor monitor, GuestLog log) : IMonitor
{
    /// <summary>The last write that was acknowledged before the transaction was sent.</summary>
    public int? First { get; private set; }

    /// <summary>The last write that had been sent when the transaction's reply was there.</summary>
    public int? Last { get; private set; }

    /// <inheritdoc/>
    public Task Closed => monitor.Closed;

    /// <inheritdoc/>
    public async Task<JsonElement> ExecuteAsync(QmpCommand command, CancellationToken cancellationToken = default)
    {
        if (!StartsBackup(command))
        {
            return await monitor.ExecuteAsync(command, cancellationToken);
        }

        First = log.AcknowledgedCount;
        var reply = await monitor.ExecuteAsync(command, cancellationToken);
        Last = log.BegunCount;
        return reply;
    }

    /// <inheritdoc/>
    public QmpEventSubscription Subscribe() => monitor.Subscribe();

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => monitor.DisposeAsync();

    private static bool StartsBackup(QmpCommand command) =>
        command.Name == "transaction"
        && command.Arguments?["actions"] is JsonArray actions
        && actions.Any(action => (string?)action?["type"] == "blockdev-backup");
}
