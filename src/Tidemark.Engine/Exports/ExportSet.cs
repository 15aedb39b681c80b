using System.Text.Json.Nodes;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Nodes;
using Tidemark.Engine.Events;
using Tidemark.Engine.Nodes;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Qmp;

namespace Tidemark.Engine.Exports;

/// <summary>The NBD server of one engine, and what it exports. Under the command gate.</summary>
internal sealed class ExportSet
{
    private readonly NodeSet _nodes;
    private readonly CommandGate _gate;
    private readonly IEventSink _events;
    private readonly List<ExportEntry> _exports = [];
    private NbdServer? _server;

    internal ExportSet(NodeSet nodes, CommandGate gate, IEventSink events)
    {
        _nodes = nodes;
        _gate = gate;
        _events = events;
    }

    /// <summary><c>nbd-server-start</c>.</summary>
    internal async ValueTask StartServerAsync(
        NbdEndPoint address, int? maximumConnections, CancellationToken cancellationToken)
    {
        if (_server is not null)
        {
            throw Refuse("NBD server already running");
        }

        var options = new NbdServerOptions();
        if (maximumConnections is > 0 and var limit)
        {
            options = options with { MaximumConnections = limit };
        }

        var server = new NbdServer(options);
        try
        {
            await server.ListenAsync(address, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            await server.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        _server = server;
    }

    /// <summary><c>nbd-server-stop</c>: every export goes, and every client.</summary>
    internal async ValueTask StopServerAsync()
    {
        var server = _server ?? throw Refuse("NBD server not running");
        _server = null;
        await server.DisposeAsync().ConfigureAwait(false);
        foreach (var export in _exports.ToArray())
        {
            Forget(export);
        }
    }

    /// <summary><c>block-export-add</c>.</summary>
    internal void Add(ExportOptions options)
    {
        if (!Names.IsWellFormed(options.Id))
        {
            throw Refuse("Invalid block export id");
        }

        if (_exports.Exists(export => string.Equals(export.Id, options.Id, StringComparison.Ordinal)))
        {
            throw Refuse($"Block export id '{options.Id}' is already in use");
        }

        var node = _nodes.Graph.Find(options.NodeName)
            ?? throw Refuse($"Cannot find device='' nor node-name='{options.NodeName}'");
        var server = _server ?? throw Refuse("NBD server not running");
        if (_exports.Exists(export => string.Equals(export.Export.Name, options.Name, StringComparison.Ordinal)))
        {
            throw Refuse($"NBD server already has export named '{options.Name}'");
        }

        if (options.Writable && _nodes.Get(node).IsReadOnly)
        {
            throw Refuse("Block node is read-only");
        }

        var bitmaps = options.Bitmaps.Select(bitmap => FindBitmap(node, bitmap.Node, bitmap.Name)).ToArray();
        var backend = _nodes.Graph.CreateBackend(node, $"export '{options.Id}'");
        _nodes.AddRoot(new RootUse(backend, options.Writable, SharesWrite: true));
        try
        {
            _nodes.Permissions.Check();
            var export = new NbdExport(options.Name, backend, new NbdExportOptions
            {
                Writable = options.Writable,
                Bitmaps = bitmaps,
                Description = options.Description,
            });
            server.AddExport(export);
            _exports.Add(new ExportEntry(options.Id, export));
        }
        catch
        {
            _nodes.RemoveRoot(backend);
            backend.Dispose();
            throw;
        }
    }

    /// <summary><c>block-export-del</c>. Returns when the removal is begun; an event says that it is done.</summary>
    internal void Remove(string id, bool hard)
    {
        var export = _exports.Find(entry => string.Equals(entry.Id, id, StringComparison.Ordinal))
            ?? throw Refuse($"Export '{id}' is not found");
        if (!hard && export.Export.ConnectionCount > 0)
        {
            throw Refuse($"export '{id}' still in use");
        }

        if (export.IsShuttingDown)
        {
            throw Refuse($"Export '{id}' is already shutting down");
        }

        export.IsShuttingDown = true;
        export.Removal = RemoveAsync(export);
    }

    /// <summary><c>query-block-exports</c>.</summary>
    internal JsonArray Query()
    {
        JsonArray list = [];
        foreach (var export in Enumerable.Reverse(_exports))
        {
            list.Add((JsonNode)new JsonObject
            {
                ["node-name"] = export.Export.Backend.Node.Name,
                ["shutting-down"] = export.IsShuttingDown,
                ["type"] = "nbd",
                ["id"] = export.Id,
            });
        }

        return list;
    }

    /// <summary>Ends the server and every export. Not under the command gate: removals under way take it.</summary>
    internal async Task ShutDownAsync()
    {
        Task[] removals;
        using (await _gate.EnterAsync(CancellationToken.None).ConfigureAwait(false))
        {
            removals = [.. _exports.Select(export => export.Removal)];
        }

        await Task.WhenAll(removals).ConfigureAwait(false);
        using (await _gate.EnterAsync(CancellationToken.None).ConfigureAwait(false))
        {
            if (_server is not null)
            {
                await StopServerAsync().ConfigureAwait(false);
            }
        }
    }

    private async Task RemoveAsync(ExportEntry export)
    {
        await Task.Yield();
        try
        {
            await _server!.RemoveExportAsync(export.Export.Name, NbdExportRemoval.Hard).ConfigureAwait(false);
        }
        catch (BlockException)
        {
            // The server was stopped meanwhile, and the export with it.
        }

        using (await _gate.EnterAsync(CancellationToken.None).ConfigureAwait(false))
        {
            Forget(export);
        }
    }

    private void Forget(ExportEntry export)
    {
        if (_exports.Remove(export))
        {
            _nodes.RemoveRoot(export.Export.Backend);
            _events.Emit("BLOCK_EXPORT_DELETED", new JsonObject { ["id"] = export.Id });
        }
    }

    // A bitmap by name alone is looked for on the node and down its backing chain, through filters, as QEMU 5.2 and
    // later do. `snapshot-access` is no filter; a bitmap beyond it is named with its node.
    private DirtyBitmap FindBitmap(BlockNode node, string? bitmapNode, string name)
    {
        if (bitmapNode is not null)
        {
            return BitmapRules.Find(_nodes.Graph, bitmapNode, name).Bitmap;
        }

        for (var next = node; next is not null; next = next.ChildOf(next.IsFilter ? ChildRole.File : ChildRole.Backing))
        {
            if (next.Bitmaps.Find(name) is { } bitmap)
            {
                return bitmap;
            }
        }

        throw Refuse($"Bitmap '{name}' is not found");
    }

    private static QmpException Refuse(string description) => new(QmpException.GenericError, description);
}
