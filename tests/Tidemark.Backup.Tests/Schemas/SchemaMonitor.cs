using System.Text.Json;
using Tidemark.Qmp;

namespace Tidemark.Backup.Tests.Schemas;

/// <summary>A monitor that holds each command against what every supported QEMU says of it, before it is sent: what one
/// version takes and another does not is found whichever of them the test runs at.</summary>
internal sealed class SchemaMonitor(IMonitor inner) : IMonitor
{
    public Task Closed => inner.Closed;

    public Task<JsonElement> ExecuteAsync(QmpCommand command, CancellationToken cancellationToken = default)
    {
        var knows = QmpSchema.All.Where(schema => schema.Has(command.Name)).ToList();
        if (knows.Count == 0)
        {
            throw new InvalidOperationException(
                $"{command.Name} is in no record: add it to tools/record-qmp-schema, and record anew");
        }

        foreach (var schema in knows)
        {
            if (schema.Refuse(command) is { } why)
            {
                throw new InvalidOperationException($"{schema.Name} would refuse {command.Name}: {why}");
            }
        }

        // One that not all have is chosen by what the hypervisor says that it has.
        return knows.Count == QmpSchema.All.Count || command.Name is "blockdev-reopen" or "x-blockdev-reopen"
            ? inner.ExecuteAsync(command, cancellationToken)
            : throw new InvalidOperationException($"{command.Name} is not in every version");
    }

    public QmpEventSubscription Subscribe() => inner.Subscribe();

    public ValueTask DisposeAsync() => inner.DisposeAsync();
}
