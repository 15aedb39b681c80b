using Tidemark.Blocks.Files;
using Tidemark.Blocks.Filters;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Qcow2;
using Tidemark.Qmp;

namespace Tidemark.Engine.Nodes;

// Opens what NodeOptions describe, children first. A child that is named exists already and is only used; one that is
// described inline is opened here and owned by its parent, as are the backing files that an image's header asks for:
// they go when the parent goes. When anything fails, what was opened so far is closed again, in the reverse order.
//
// A child without a word about read-only does as its parent; a backing file is always read-only.

/// <summary>Opens nodes for <c>blockdev-add</c>. Under the command gate.</summary>
internal sealed class NodeOpener
{
    /// <summary>The longest backing chain that headers may ask for.</summary>
    internal const int MaximumChainLength = 200;

    private readonly NodeSet _nodes;

    internal NodeOpener(NodeSet nodes) => _nodes = nodes;

    /// <summary>Opens a node with all that it needs, and takes it in.</summary>
    /// <exception cref="QmpException">A name or a combination of options is refused; nothing was opened.</exception>
    /// <exception cref="BlockException">Something could not be opened; nothing is left of it.</exception>
    internal async ValueTask<NodeEntry> AddAsync(NodeOptions options, CancellationToken cancellationToken)
    {
        if (options.NodeName is null)
        {
            throw Refuse("'node-name' must be specified for the root node");
        }

        var entry = await OpenAsync(options, parentReadOnly: false, isRoot: true, depth: 0, cancellationToken)
            .ConfigureAwait(false);
        try
        {
            _nodes.Permissions.Check();
        }
        catch
        {
            await _nodes.RemoveAsync(entry).ConfigureAwait(false);
            throw;
        }

        return entry;
    }

    private async ValueTask<NodeEntry> OpenAsync(
        NodeOptions options, bool parentReadOnly, bool isRoot, int depth, CancellationToken cancellationToken)
    {
        if (options.NodeName is { } wanted)
        {
            _nodes.CheckName(wanted);
        }

        var name = options.NodeName ?? _nodes.Graph.NextImplicitName();
        var readOnly = options.ReadOnly ?? parentReadOnly;
        List<NodeEntry> owned = [];
        BlockNode? node = null;
        try
        {
            node = options switch
            {
                FileNodeOptions file => OpenFile(name, file, readOnly),
                NullNodeOptions nothing => new NullNode(name, nothing.Size, nothing.ReadZeroes, readOnly),
                NbdDriverOptions remote =>
                    await OpenNbdAsync(name, remote, readOnly, cancellationToken).ConfigureAwait(false),
                RawNodeOptions raw => new RawNode(
                    name,
                    await ChildAsync(raw.File, readOnly, owned, depth, cancellationToken).ConfigureAwait(false),
                    raw.Offset, raw.Size, readOnly),
                Qcow2NodeOptions image => await OpenQcow2Async(name, image, readOnly, owned, depth, cancellationToken)
                    .ConfigureAwait(false),
                CopyBeforeWriteNodeOptions filter => await OpenFilterAsync(
                    name, filter, owned, depth, cancellationToken)
                    .ConfigureAwait(false),
                SnapshotAccessNodeOptions view => new SnapshotAccessNode(
                    name,
                    await ChildAsync(view.File, false, owned, depth, cancellationToken).ConfigureAwait(false)
                        as CopyBeforeWriteFilter
                        ?? throw Refuse("The file of a snapshot-access node must be a copy-before-write filter")),
                _ => throw new InvalidOperationException($"no driver for {options.GetType().Name}"),
            };
            node.StopsDiscards = !(options.Discards ?? !isRoot);
            var entry = new NodeEntry(node, options) { IsOwnedByMonitor = isRoot };
            entry.Owned.AddRange(owned);
            _nodes.Add(entry);
            return entry;
        }
        catch
        {
            await CloseAsync(node, owned).ConfigureAwait(false);
            throw;
        }
    }

    private async ValueTask CloseAsync(BlockNode? node, List<NodeEntry> owned)
    {
        // The error that brought us here is the one to report.
        try
        {
            if (node is not null && _nodes.Find(node) is null)
            {
                await node.DisposeAsync().ConfigureAwait(false);
            }
        }
        catch (BlockException)
        {
        }

        for (var index = owned.Count - 1; index >= 0; index--)
        {
            try
            {
                await _nodes.RemoveAsync(owned[index]).ConfigureAwait(false);
            }
            catch (BlockException)
            {
            }
        }
    }

    private async ValueTask<BlockNode> ChildAsync(
        ChildOptions child, bool readOnly, List<NodeEntry> owned, int depth, CancellationToken cancellationToken)
    {
        if (child.Name is { } name)
        {
            return _nodes.Get(name).Node;
        }

        var entry = await OpenAsync(child.Options!, readOnly, isRoot: false, depth + 1, cancellationToken)
            .ConfigureAwait(false);
        owned.Add(entry);
        return entry.Node;
    }

    private static BlockNode OpenFile(string name, FileNodeOptions options, bool readOnly)
    {
        if (Directory.Exists(options.FileName))
        {
            throw Refuse($"Could not open '{options.FileName}': Is a directory");
        }

        if (!File.Exists(options.FileName))
        {
            throw Refuse($"Could not open '{options.FileName}': No such file or directory");
        }

        var open = new RawFileOptions
        {
            ReadOnly = readOnly,
            ForceShare = options.ForceShare,
            Locking = options.Locking ?? true,
        };
        try
        {
            return RawFileNode.Open(name, options.FileName, open);
        }
        catch (BlockException exception) when (options.AutoReadOnly && exception.Kind == BlockErrorKind.ReadOnly)
        {
            return RawFileNode.Open(name, options.FileName, open with { ReadOnly = true });
        }
    }

    private async ValueTask<BlockNode> OpenQcow2Async(
        string name,
        Qcow2NodeOptions options,
        bool readOnly,
        List<NodeEntry> owned,
        int depth,
        CancellationToken cancellationToken)
    {
        var file = await ChildAsync(options.File, readOnly, owned, depth, cancellationToken).ConfigureAwait(false);
        if (!await Qcow2Image.IsQcow2Async(file, cancellationToken).ConfigureAwait(false))
        {
            throw Refuse("Image is not in qcow2 format");
        }

        BlockNode? backing = null;
        if (options.Backing is { } given)
        {
            backing = await ChildAsync(given, readOnly: true, owned, depth, cancellationToken).ConfigureAwait(false);
        }
        else if (!options.NoBacking)
        {
            var header = await Qcow2Image.ReadHeaderAsync(file, cancellationToken).ConfigureAwait(false);
            if (header.BackingFile is not null)
            {
                backing = await OpenBackingAsync(
                    file, header.BackingFile, header.BackingFormat, owned, depth, cancellationToken)
                        .ConfigureAwait(false);
            }
        }

        var open = new Qcow2OpenOptions { ReadOnly = readOnly, Backing = backing, WithoutBacking = backing is null };
        return await Qcow2Node.OpenAsync(name, file, open, cancellationToken).ConfigureAwait(false);
    }

    // The backing file that an image's header names, read-only, with whatever that one needs in turn.
    private async ValueTask<BlockNode> OpenBackingAsync(
        BlockNode file, string name, string? format, List<NodeEntry> owned, int depth,
        CancellationToken cancellationToken)
    {
        if (depth >= MaximumChainLength)
        {
            throw Refuse($"the backing chain is longer than {MaximumChainLength} images, or a loop");
        }

        if (BackingNames.Resolve(name, NodeFileNames.Of(file)) is not { } path)
        {
            throw Refuse($"Could not open backing file: '{name}' is no path; give the backing node by name");
        }

        var fileOptions = new FileNodeOptions(path, null);
        try
        {
            format ??= await ProbeAsync(path, cancellationToken).ConfigureAwait(false);
            var child = new ChildOptions(null, fileOptions);
            NodeOptions options = format switch
            {
                "qcow2" => new Qcow2NodeOptions(child, false, null),
                "raw" => new RawNodeOptions(child, 0, null),
                _ => throw Refuse($"format '{format}' is not supported"),
            };
            var entry = await OpenAsync(
                options with { ReadOnly = true }, true, isRoot: false, depth + 1, cancellationToken)
                .ConfigureAwait(false);
            owned.Add(entry);
            return entry.Node;
        }
        catch (Exception exception) when (exception is QmpException or BlockException)
        {
            var text = exception is QmpException refusal ? refusal.Description : exception.Message;
            throw new BlockException(BlockErrorKind.NotFound, $"Could not open backing file: {text}", exception);
        }
    }

    // An image that does not say what its backing file is was made by an old program; QEMU looks at the file too. It is
    // only read, so a raw disk whose guest wrote a qcow2 header cannot do harm beyond showing what that header says.
    private static async ValueTask<string> ProbeAsync(string path, CancellationToken cancellationToken)
    {
        var probe = RawFileNode.Open("#probe", path, readOnly: true);
        await using (probe.ConfigureAwait(false))
        {
            return await Qcow2Image.IsQcow2Async(probe, cancellationToken).ConfigureAwait(false) ? "qcow2" : "raw";
        }
    }

    private async ValueTask<BlockNode> OpenFilterAsync(
        string name, CopyBeforeWriteNodeOptions options, List<NodeEntry> owned, int depth,
        CancellationToken cancellationToken)
    {
        var file = await ChildAsync(options.File, false, owned, depth, cancellationToken).ConfigureAwait(false);
        var target = await ChildAsync(options.Target, false, owned, depth, cancellationToken).ConfigureAwait(false);
        if (_nodes.Get(target).IsReadOnly)
        {
            throw Refuse("Block node is read-only");
        }

        var access = options.BitmapName is { } bitmapName
            ? Blocks.Bitmaps.BitmapRules.Find(_nodes.Graph, options.BitmapNode!, bitmapName).Bitmap
            : null;
        if (access is not null)
        {
            Blocks.Bitmaps.BitmapRules.RequireUsable(access);
        }

        return new CopyBeforeWriteFilter(name, file, target, new CopyBeforeWriteOptions
        {
            OnError = options.BreakGuestWrite == true
                ? CopyBeforeWritePolicy.BreakGuestWrite
                : CopyBeforeWritePolicy.BreakSnapshot,
            Timeout = options.Timeout,
            Access = access,
            Copy = new() { Graph = _nodes.Graph },
        });
    }

    private static async ValueTask<BlockNode> OpenNbdAsync(
        string name, NbdDriverOptions options, bool readOnly, CancellationToken cancellationToken) =>
        await NbdNode.ConnectAsync(
            name, options.Server, new NbdNodeOptions { ExportName = options.Export, ReadOnly = readOnly },
            cancellationToken)
            .ConfigureAwait(false);

    private static QmpException Refuse(string description) => new(QmpException.GenericError, description);
}
