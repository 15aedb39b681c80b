using System.Numerics;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Filters;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Engine.Chains;
using Tidemark.Engine.Events;
using Tidemark.Engine.Jobs;
using Tidemark.Engine.Nodes;
using Tidemark.Qcow2;
using Tidemark.Qmp;

namespace Tidemark.Engine.Commands;

/// <summary><c>block-commit</c>, <c>block-stream</c> and <c>blockdev-mirror</c> (qapi/block-core.json).</summary>
internal sealed class ChainCommands
{
    private const long MaximumGranularity = 64 << 20;

    private readonly NodeSet _nodes;
    private readonly JobSet _jobs;
    private readonly TimeProvider _time;
    private readonly IEventSink _events;

    private ChainCommands(NodeSet nodes, JobSet jobs, TimeProvider time, IEventSink events)
    {
        _nodes = nodes;
        _jobs = jobs;
        _time = time;
        _events = events;
    }

    internal static void AddTo(CommandTable table, NodeSet nodes, JobSet jobs, TimeProvider time, IEventSink events)
    {
        ChainCommands commands = new(nodes, jobs, time, events);
        table.Add("block-commit", (arguments, token) => commands.CommitAsync(arguments, token));
        table.Add("block-stream", (arguments, token) => commands.StreamAsync(arguments, token));
        table.Add("blockdev-mirror", (arguments, token) => commands.MirrorAsync(arguments, token));
    }

    private async ValueTask CommitAsync(QmpArguments arguments, CancellationToken cancellationToken)
    {
        var device = arguments.GetString("device");
        arguments.RefuseUnsupported("base", "top", "backing-mask-protocol", "filter-node-name");
        var baseName = arguments.FindString("base-node");
        var topName = arguments.FindString("top-node");
        var backingFile = arguments.FindString("backing-file");
        var options = ChainJobOptions.Read(arguments, device, "on-error");
        arguments.CheckNothingLeft();
        _jobs.CheckId(options.JobId);
        var chain = ChainLayers.Of(_nodes, FindDevice(device));
        var top = topName is null ? 0 : chain.IndexOf(_nodes, topName);
        var bottom = baseName is null ? chain.All.Count - 1 : chain.IndexOf(_nodes, baseName);
        if (top < 0)
        {
            throw Refuse($"'{topName}' is not in this backing file chain");
        }

        if (top == bottom)
        {
            throw Refuse("cannot commit an image into itself");
        }

        if (bottom < top)
        {
            throw Refuse($"'{baseName}' is not in this backing file chain");
        }

        if (top == 0 && backingFile is not null)
        {
            throw Refuse("'backing-file' specified, but 'top' is the active layer");
        }

        var (source, target) = (chain.All[top], chain.All[bottom]);
        RefuseFrozenView(source.Node);
        Qcow2Node[] above = top == 0 ? [] : [.. FindAbove(chain, top)];
        await StartAsync(chain.All.Take(bottom + 1), [target], async () =>
        {
            await ResizeAsync(target.Node, source.Node.Length, cancellationToken).ConfigureAwait(false);
            return top == 0
                ? new MirrorJob(
                    options, _nodes, _jobs, "commit", source, target, bottom,
                    BitmapRules.DefaultGranularity(source.Node), _time, _events)
                : new CommitJob(
                    options, _nodes, source, target, above, bottom - top, backingFile, _time, _events);
        }, cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask StreamAsync(QmpArguments arguments, CancellationToken cancellationToken)
    {
        var device = arguments.GetString("device");
        arguments.RefuseUnsupported("base", "bottom", "backing-mask-protocol");
        var baseName = arguments.FindString("base-node");
        var backingFile = arguments.FindString("backing-file");
        var filterName = arguments.FindString("filter-node-name");
        var options = ChainJobOptions.Read(arguments, device, "on-error");
        arguments.CheckNothingLeft();
        _jobs.CheckId(options.JobId);
        var chain = ChainLayers.Of(_nodes, _nodes.Get(device).Node);
        var bottom = baseName is null ? chain.All.Count : chain.IndexOf(_nodes, baseName);
        if (bottom <= 0)
        {
            throw Refuse($"Node '{baseName}' is not a backing image of '{device}'");
        }

        if (backingFile is not null && baseName is null)
        {
            throw Refuse("backing file specified, but streaming the entire chain");
        }

        if (chain.All[0].Node is not Qcow2Node image)
        {
            throw Refuse($"node '{chain.All[0].Node.Name}' is no image with a backing file: nothing can be streamed");
        }

        if (filterName is not null)
        {
            _nodes.CheckName(filterName);
        }

        RefuseFrozenView(image);
        var target = bottom < chain.All.Count ? chain.All[bottom] : null;
        await StartAsync(
            chain.All.Take(bottom + 1),
            [chain.All[0]],
            () => ValueTask.FromResult<ChainJob>(new StreamJob(
                options, _nodes, filterName ?? _nodes.Graph.NextImplicitName(), image, target,
                target is null ? int.MaxValue : bottom, backingFile, _time, _events)),
            cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask MirrorAsync(QmpArguments arguments, CancellationToken cancellationToken)
    {
        var device = arguments.GetString("device");
        var targetName = arguments.GetString("target");
        var sync = arguments.GetChoice("sync", "top", "full", "none", "incremental", "bitmap");
        if (sync is not ("top" or "full"))
        {
            throw Refuse($"Parameter 'sync' does not support value '{sync}'");
        }

        if (arguments.FindChoice("copy-mode", "background", "write-blocking") == "write-blocking")
        {
            throw Refuse("Parameter 'copy-mode' does not support value 'write-blocking'");
        }

        arguments.RefuseUnsupported("replaces", "buf-size", "filter-node-name", "target-is-zero");
        var granularity = arguments.FindInteger("granularity") ?? 0;
        var options = ChainJobOptions.Read(arguments, device, "on-source-error", "on-target-error");
        arguments.CheckNothingLeft();
        _jobs.CheckId(options.JobId);
        var chain = ChainLayers.Of(_nodes, _nodes.Get(device).Node);
        var source = chain.All[0];
        var target = _nodes.Get(targetName);
        CheckMirror(source, target, granularity);
        var targetChain = ChainLayers.Of(_nodes, target.Node);
        await StartAsync(
            chain.All.Concat(targetChain.All).Distinct(),
            [],
            () => ValueTask.FromResult<ChainJob>(new MirrorJob(
                options, _nodes, _jobs, "mirror", source, target, sync == "top" && chain.All.Count > 1 ? 1 : 0,
                granularity == 0 ? BitmapRules.DefaultGranularity(source.Node) : granularity, _time, _events)),
            cancellationToken).ConfigureAwait(false);
    }

    // This command is older than node names, and has other words for a node that is not there.
    private BlockNode FindDevice(string device) => _nodes.Graph.Find(device)
        ?? throw new QmpException("DeviceNotFound", $"Device '{device}' not found");

    private static void CheckMirror(NodeEntry source, NodeEntry target, long granularity)
    {
        if (granularity != 0
            && (granularity is < 512 or > MaximumGranularity || !BitOperations.IsPow2(granularity)))
        {
            throw Refuse("Parameter 'granularity' expects a power of 2 in range [512B, 64MB]");
        }

        if (granularity > DirtyCopy.StepLength)
        {
            throw Refuse($"Parameter 'granularity' supports at most {DirtyCopy.StepLength}");
        }

        if (BlockGraph.Descendants(target.Node).Contains(source.Node))
        {
            throw Refuse("Can't mirror node into itself");
        }

        if (target.IsReadOnly)
        {
            throw Refuse("Block node is read-only");
        }

        if (source.Node.Length != target.Node.Length)
        {
            throw Refuse("Source and target image have different sizes");
        }

        RefuseFrozenView(source.Node);
    }

    // Makes the job while no request is under way, and starts it; when that fails, nothing of it is left. The layer
    // that it writes may be open read-only: it is made writable for the job.
    private async ValueTask StartAsync(
        IEnumerable<NodeEntry> layers,
        IReadOnlyList<NodeEntry> written,
        Func<ValueTask<ChainJob>> make,
        CancellationToken cancellationToken)
    {
        NodeEntry[] held = [.. layers];
        ChainJob? job = null;
        try
        {
            using (await _nodes.Graph.DrainAsync(cancellationToken).ConfigureAwait(false))
            {
                ChainJob.RequireIdle(held);
                job = await MakeAsync(written, make).ConfigureAwait(false);
                job.Hold(held);
                try
                {
                    _nodes.Permissions.Check();
                }
                catch
                {
                    (job as StreamJob)?.Uninstall();
                    throw;
                }
            }
        }
        catch when (job is not null)
        {
            await job.ReleaseAsync().ConfigureAwait(false);
            job.Dispose();
            throw;
        }

        _jobs.Add(job);
        _jobs.Start(job);
    }

    private async ValueTask<ChainJob> MakeAsync(IReadOnlyList<NodeEntry> written, Func<ValueTask<ChainJob>> make)
    {
        var opened = await ReadOnlyChange.OpenAsync(_nodes, written).ConfigureAwait(false);
        try
        {
            var job = await make().ConfigureAwait(false);
            job.Opened(opened);
            return job;
        }
        catch
        {
            await ReadOnlyChange.CloseAsync(_nodes, opened).ConfigureAwait(false);
            throw;
        }
    }

    // The images whose backing node the top is.
    private static IEnumerable<Qcow2Node> FindAbove(ChainLayers chain, int top)
    {
        var node = chain.All[top].Node;
        if (chain.All[top - 1].Node.ChildOf(ChildRole.Backing) != node)
        {
            throw Refuse($"node '{node.Name}' has a filter over it: remove the filter first");
        }

        foreach (var parent in node.Parents.Where(parent => parent.Role == ChildRole.Backing))
        {
            yield return (Qcow2Node)parent.Owner!;
        }
    }

    private static async ValueTask ResizeAsync(BlockNode node, long length, CancellationToken cancellationToken)
    {
        if (node.Length > length)
        {
            // The disk would be larger all at once, with what lies behind its end.
            throw Refuse(
                $"node '{node.Name}' has {node.Length} bytes, more than the {length} of what is committed into it");
        }

        if (node.Length < length && node is Qcow2Node image)
        {
            await image.ResizeDiskAsync(length, cancellationToken: cancellationToken).ConfigureAwait(false);
        }
        else if (node.Length < length)
        {
            await node.ResizeAsync(length, cancellationToken).ConfigureAwait(false);
        }
    }

    // The filter's view stands on this very node.
    private static void RefuseFrozenView(BlockNode node)
    {
        if (CopyBeforeWriteFilter.FindAbove(node) is { } filter)
        {
            throw Refuse($"Node '{node.Name}' is busy: the filter '{filter.Name}' keeps a point in time of it");
        }
    }

    private static QmpException Refuse(string description) => new(QmpException.GenericError, description);
}
