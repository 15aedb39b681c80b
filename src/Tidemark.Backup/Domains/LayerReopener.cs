// A layer below the active one is open read-only, and a bitmap on it can be changed only while it is not. So it is
// reopened with the same children, writable, and read-only again afterwards, in reverse.
//
// Its other options (cache, discard…) fall back to the hypervisor's defaults thereby; for a layer that nobody writes
// they mean nothing.
//
// A layer that was opened because an image's header names it has a name that the hypervisor made up, and QEMU reopens
// no such node ("Cannot change the option 'node-name'", 5.2 to 11.1): that is each lower layer after a plain start with
// the active one. A machine has another way there, the "reopen" of the qemu-io that its human monitor has; it leaves
// all other options as they are. A storage daemon has none.

using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Qmp;

namespace Tidemark.Backup.Domains;

/// <summary>Makes layers writable for a moment.</summary>
internal static class LayerReopener
{
    private const string Command = "blockdev-reopen";
    private const string OldCommand = "x-blockdev-reopen";
    private const string HumanCommand = "human-monitor-command";

    /// <summary>Does work while layers are writable.</summary>
    /// <param name="monitor">The hypervisor.</param>
    /// <param name="capabilities">What it can do.</param>
    /// <param name="layers">The layers that must be writable; those that are already stay as they are.</param>
    /// <param name="note">Takes what could not be put back.</param>
    /// <param name="work">The work.</param>
    /// <param name="cancellationToken">Gives up before the work.</param>
    /// <exception cref="BackupException">A layer cannot be reopened.</exception>
    internal static async Task RunAsync(
        IMonitor monitor,
        HypervisorCapabilities capabilities,
        IEnumerable<GraphNode> layers,
        Action<string> note,
        Func<Task> work,
        CancellationToken cancellationToken)
    {
        List<GraphNode> open = [];
        try
        {
            foreach (var layer in layers.Where(layer => layer.IsReadOnly))
            {
                await ReopenAsync(monitor, capabilities, layer, false, cancellationToken).ConfigureAwait(false);
                open.Add(layer);
            }

            await work().ConfigureAwait(false);
        }
        finally
        {
            for (var index = open.Count - 1; index >= 0; index--)
            {
                try
                {
                    await ReopenAsync(monitor, capabilities, open[index], true, CancellationToken.None)
                        .ConfigureAwait(false);
                }
                catch (BackupException exception)
                {
                    note($"layer '{open[index].Name}' stays writable: {exception.Message}");
                }
            }
        }
    }

    private static async Task ReopenAsync(
        IMonitor monitor,
        HypervisorCapabilities capabilities,
        GraphNode layer,
        bool readOnly,
        CancellationToken cancellationToken)
    {
        if (layer.HasMadeUpName && capabilities.Has(HumanCommand))
        {
            await ReopenByQemuIoAsync(monitor, layer, readOnly, cancellationToken).ConfigureAwait(false);
            return;
        }

        if (!capabilities.Has(Command) && !capabilities.Has(OldCommand))
        {
            throw new BackupException(
                BackupErrorKind.Hypervisor,
                $"layer '{layer.Name}' is read-only and this hypervisor cannot reopen it ({Command}: QEMU 6.1 or "
                    + "newer)");
        }

        JsonObject options = new()
        {
            ["driver"] = layer.Driver,
            ["node-name"] = layer.Name,
            ["read-only"] = readOnly,
        };
        if (layer.FileNode is { } file)
        {
            options["file"] = file;
        }

        if (layer.Driver == "qcow2")
        {
            options["backing"] = layer.BackingNode;
        }

        try
        {
            await monitor.ExecuteAsync(
                capabilities.Has(Command)
                    ? new QmpCommand(Command, new JsonObject { ["options"] = new JsonArray((JsonNode)options) })
                    : new QmpCommand(OldCommand, options),
                cancellationToken).ConfigureAwait(false);
        }
        catch (QmpException exception) when (exception.ErrorClass != QmpException.MonitorClosed)
        {
            throw Failed(layer, readOnly, exception.Description + Advice(layer), exception);
        }
    }

    private static async Task ReopenByQemuIoAsync(
        IMonitor monitor, GraphNode layer, bool readOnly, CancellationToken cancellationToken)
    {
        string said;
        try
        {
            var reply = await monitor.ExecuteAsync(
                new QmpCommand(HumanCommand, new JsonObject
                {
                    ["command-line"] = $"qemu-io {layer.Name} \"reopen {(readOnly ? "-r" : "-w")}\"",
                }),
                cancellationToken).ConfigureAwait(false);
            said = reply.ValueKind == JsonValueKind.String ? reply.GetString()!.Trim() : "";
        }
        catch (QmpException exception) when (exception.ErrorClass != QmpException.MonitorClosed)
        {
            throw Failed(layer, readOnly, exception.Description, exception);
        }

        // It says nothing when it has done it.
        if (said.Length > 0)
        {
            throw Failed(layer, readOnly, said, null);
        }
    }

    private static string Advice(GraphNode layer) => layer.HasMadeUpName
        ? ". QEMU reopens no node that it has named itself: do this while the domain is off (--domain NAME --monitor "
            + "DISK=PATH), or let the domain be started with a node name for each layer"
        : "";

    private static BackupException Failed(GraphNode layer, bool readOnly, string why, Exception? inner) => new(
        BackupErrorKind.Hypervisor,
        $"layer '{layer.Name}' ({layer.Filename}) could not be reopened "
            + $"{(readOnly ? "read-only" : "writable")}: {why}",
        inner);
}
