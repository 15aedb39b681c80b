using System.Text.Json.Nodes;
using Tidemark.Qmp;

namespace Tidemark.Backup.Planning;

/// <summary>Steps that the plans of all kinds have in common, each with what takes it back.</summary>
internal static class StepParts
{
    /// <summary>Makes a file or formats an image, by a job of the hypervisor's.</summary>
    /// <param name="purpose">What for.</param>
    /// <param name="jobId">The job's id.</param>
    /// <param name="options"><c>blockdev-create</c>'s.</param>
    internal static PlanStep.Job Create(string purpose, string jobId, JsonObject options) => new(
        purpose,
        new QmpCommand("blockdev-create", new JsonObject { ["job-id"] = jobId, ["options"] = options }),
        jobId,
        [new UndoAction.Job(jobId)]);

    /// <summary>Opens a node.</summary>
    /// <param name="purpose">What for.</param>
    /// <param name="name">The node's name, which is in the options as well.</param>
    /// <param name="options"><c>blockdev-add</c>'s.</param>
    internal static PlanStep.Command Open(string purpose, string name, JsonObject options) => new(
        purpose, new QmpCommand("blockdev-add", options), [new UndoAction.Node(name)]);

    /// <summary>Opens a file or a device of the host to be written.</summary>
    internal static PlanStep.Command OpenFile(string purpose, string name, string path, bool isDevice) =>
        Open(purpose, name, new JsonObject
        {
            ["driver"] = isDevice ? "host_device" : "file",
            ["node-name"] = name,
            ["filename"] = path,
            ["read-only"] = false,
            ["discard"] = "unmap",
        });

    /// <summary>Starts the hypervisor's NBD server.</summary>
    /// <param name="address">Where it listens.</param>
    /// <param name="tls">The object that holds its certificates; null for a server without TLS.</param>
    internal static PlanStep.Command StartServer(NbdAddress address, string? tls)
    {
        JsonObject arguments = new() { ["addr"] = address.ToLegacyJson() };
        if (tls is not null)
        {
            arguments["tls-creds"] = tls;
        }

        List<UndoAction> undo = address.Path is { } socket ? [new UndoAction.ServerSocket(socket)] : [];
        undo.Add(new UndoAction.NbdServer(address));
        return new PlanStep.Command(
            "start the hypervisor's NBD server", new QmpCommand("nbd-server-start", arguments), undo);
    }

    /// <summary>Publishes the frozen view of one disk.</summary>
    /// <param name="disk">The disk's name.</param>
    /// <param name="node">The scratch's node.</param>
    /// <param name="id">The export's id.</param>
    /// <param name="name">Its NBD name.</param>
    /// <param name="bitmap">The temporary bitmap; null when the whole disk is read.</param>
    internal static PlanStep.Command Export(string disk, string node, string id, string name, string? bitmap)
    {
        JsonObject export = new()
        {
            ["type"] = "nbd",
            ["id"] = id,
            ["node-name"] = node,
            ["writable"] = false,
            ["name"] = name,
        };
        if (bitmap is not null)
        {
            export["bitmaps"] = new JsonArray((JsonNode)bitmap);
        }

        return new PlanStep.Command(
            $"export the frozen view of disk '{disk}'",
            new QmpCommand("block-export-add", export),
            [new UndoAction.Export(id)]);
    }
}
