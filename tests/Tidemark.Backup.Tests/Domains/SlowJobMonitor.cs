using System.Text.Json;
using Tidemark.Qmp;

namespace Tidemark.Backup.Tests.Domains;

/// <summary>A monitor at which a transaction's backup job of one disk is told to be slow.</summary>
internal sealed class SlowJobMonitor(IMonitor inner, string disk) : IMonitor
{
    public Task Closed => inner.Closed;

    public Task<JsonElement> ExecuteAsync(QmpCommand command, CancellationToken cancellationToken = default)
    {
        if (command.Name == "transaction")
        {
            foreach (var action in command.Arguments!["actions"]!.AsArray())
            {
                var data = action!["data"]!.AsObject();
                if ((string?)action["type"] == "blockdev-backup" && (string?)data["device"] == disk)
                {
                    data["speed"] = 65536;
                }
            }
        }

        return inner.ExecuteAsync(command, cancellationToken);
    }

    public QmpEventSubscription Subscribe() => inner.Subscribe();

    public ValueTask DisposeAsync() => inner.DisposeAsync();
}
