using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Blocks.Files;
using Tidemark.Engine;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Qcow2;
using Tidemark.Qmp;

namespace Tidemark.Cli.Demo;

/// <summary>
/// The demo's hypervisor: the embedded engine with one qcow2 disk, which it exports to the guest over NBD on a unix
/// socket. Everything is set up through QMP, as by anybody else.
/// </summary>
internal sealed class DemoEngine : IAsyncDisposable
{
    /// <summary>The disk's node, and its name in the repository.</summary>
    public const string DiskName = "vda";

    private const string GuestExport = "guest";

    private readonly StorageEngine _engine;
    private readonly QmpConnection _monitor;
    private readonly string _socketPath;
    private string[] _nodes = [];

    private DemoEngine(StorageEngine engine, QmpConnection monitor, string socketPath)
    {
        _engine = engine;
        _monitor = monitor;
        _socketPath = socketPath;
    }

    /// <summary>The engine's NBD server, as a backup in pull mode is told of it: a hypervisor has only one.</summary>
    public string NbdUri => $"nbd+unix:///?socket={Uri.EscapeDataString(_socketPath)}";

    /// <summary>Creates the disk's image, opens and exports it.</summary>
    /// <param name="imagePath">The image to create.</param>
    /// <param name="length">The disk's size in bytes.</param>
    /// <param name="socketPath">Where the NBD server listens.</param>
    /// <param name="time">The clock.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public static async Task<DemoEngine> StartAsync(
        string imagePath, long length, string socketPath, TimeProvider time, CancellationToken cancellationToken)
    {
        await using (var file = RawFileNode.Create("image", imagePath, 0))
        {
            await Qcow2Image.CreateAsync(file, new Qcow2CreateOptions { Length = length }, cancellationToken);
        }

        var engine = new StorageEngine(time);
        try
        {
            var started = new DemoEngine(engine, await engine.ConnectInProcessAsync(cancellationToken), socketPath);
            await started.SetUpAsync(imagePath, cancellationToken);
            return started;
        }
        catch
        {
            await engine.DisposeAsync();
            throw;
        }
    }

    /// <summary>Connects the guest to its disk.</summary>
    public Task<NbdNode> ConnectGuestAsync(CancellationToken cancellationToken) => NbdNode.ConnectAsync(
        "guest", NbdEndPoint.ForUnix(_socketPath), new NbdNodeOptions { ExportName = GuestExport }, cancellationToken);

    /// <summary>Connects another monitor.</summary>
    public async Task<IMonitor> ConnectMonitorAsync(CancellationToken cancellationToken) =>
        await _engine.ConnectInProcessAsync(cancellationToken);

    /// <summary>What is on the engine that was not there at the
    /// beginning, the given checkpoint's bitmap apart.</summary>
    public async Task<IReadOnlyList<string>> FindLeftoversAsync(string? checkpoint, CancellationToken cancellationToken)
    {
        var found = new List<string>();
        foreach (var job in (await QueryAsync("query-jobs", cancellationToken)).EnumerateArray())
        {
            found.Add($"job {job.GetProperty("id").GetString()}");
        }

        foreach (var export in (await QueryAsync("query-block-exports", cancellationToken)).EnumerateArray())
        {
            if (export.GetProperty("id").GetString() is var id && id != GuestExport)
            {
                found.Add($"export {id}");
            }
        }

        foreach (var node in (await QueryAsync("query-named-block-nodes", cancellationToken)).EnumerateArray())
        {
            var name = node.GetProperty("node-name").GetString()!;
            if (!_nodes.Contains(name))
            {
                found.Add($"node {name}");
            }
            else if (node.TryGetProperty("dirty-bitmaps", out var bitmaps))
            {
                found.AddRange(bitmaps.EnumerateArray().Select(bitmap => bitmap.GetProperty("name").GetString())
                    .Where(bitmap => bitmap != checkpoint).Select(bitmap => $"bitmap {bitmap} on node {name}"));
            }
        }

        return found;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _monitor.DisposeAsync();
        await _engine.DisposeAsync();
    }

    private async Task SetUpAsync(string imagePath, CancellationToken cancellationToken)
    {
        await ExecuteAsync(
            "blockdev-add",
            new JsonObject
            {
                ["driver"] = "qcow2",
                ["node-name"] = DiskName,
                ["discard"] = "unmap",
                ["file"] = new JsonObject { ["driver"] = "file", ["filename"] = imagePath },
            },
            cancellationToken);
        await ExecuteAsync(
            "nbd-server-start",
            new JsonObject
            {
                ["addr"] = new JsonObject { ["type"] = "unix", ["data"] = new JsonObject { ["path"] = _socketPath } },
            },
            cancellationToken);
        await ExecuteAsync(
            "block-export-add",
            new JsonObject
            {
                ["type"] =
                    "nbd", ["id"] = GuestExport, ["node-name"] = DiskName, ["name"] = GuestExport, ["writable"] = true,
            },
            cancellationToken);
        _nodes = [.. (await QueryAsync("query-named-block-nodes", cancellationToken)).EnumerateArray()
            .Select(node => node.GetProperty("node-name").GetString()!)];
    }

    private Task<JsonElement> QueryAsync(string command, CancellationToken cancellationToken) =>
        _monitor.ExecuteAsync(new QmpCommand(command), cancellationToken);

    private Task ExecuteAsync(string command, JsonObject arguments, CancellationToken cancellationToken) =>
        _monitor.ExecuteAsync(new QmpCommand(command, arguments), cancellationToken);
}
