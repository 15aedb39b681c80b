using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Engine.Events;
using Tidemark.Engine.Jobs;
using Tidemark.Engine.Nodes;
using Tidemark.Qmp;

namespace Tidemark.Engine.Chains;

/// <summary>
/// A job that copies between the layers of a disk or to another disk, and changes the chain at its end. From its making
/// to its end the layers are busy: nobody else may change how they hang together.
/// </summary>
internal abstract class ChainJob : Job
{
    private readonly TimeProvider _time;
    private readonly List<NodeEntry> _held = [];
    private readonly List<BlockBackend> _roots = [];
    private IReadOnlyList<NodeEntry> _opened = [];
    private readonly long _started;
    private DirtyCopy? _copy;

    /// <summary>Prepares the job; it holds nothing yet.</summary>
    protected ChainJob(ChainJobOptions options, NodeSet nodes, TimeProvider time, IEventSink events)
        : base(options.JobId, events)
    {
        Nodes = nodes;
        _time = time;
        _started = time.GetTimestamp();
        Speed = options.Speed;
        AutoFinalize = options.AutoFinalize;
        AutoDismiss = options.AutoDismiss;
    }

    /// <inheritdoc/>
    internal override bool IsBlockJob => true;

    /// <inheritdoc/>
    internal override long CurrentProgress => _copy?.BytesDone ?? 0;

    /// <inheritdoc/>
    internal override long TotalProgress => _copy?.BytesTotal ?? 0;

    /// <summary>The engine's nodes.</summary>
    protected NodeSet Nodes { get; }

    /// <summary>The clock.</summary>
    protected TimeProvider Time => _time;

    /// <summary>What copies.</summary>
    protected DirtyCopy Copy => _copy!;

    /// <summary>Refuses layers that another job has.</summary>
    /// <exception cref="QmpException">It has one of them.</exception>
    internal static void RequireIdle(IEnumerable<NodeEntry> entries)
    {
        foreach (var entry in entries)
        {
            if (entry.JobType is { } type)
            {
                throw new QmpException(
                    QmpException.GenericError,
                    $"Node '{entry.Node.Name}' is busy: block device is in use by block job: {type}");
            }
        }
    }

    /// <summary>Takes idle layers for the job alone.</summary>
    internal void Hold(IEnumerable<NodeEntry> entries)
    {
        foreach (var entry in entries)
        {
            entry.JobType = Type;
            _held.Add(entry);
        }
    }

    /// <summary>Notes layers that were made writable for the job, to be read-only again at its end.</summary>
    internal void Opened(IReadOnlyList<NodeEntry> entries) => _opened = entries;

    /// <summary>Gives up everything that the job holds of the graph; in no drained section.</summary>
    internal virtual async ValueTask ReleaseAsync()
    {
        foreach (var entry in _held)
        {
            entry.JobType = null;
        }

        foreach (var root in _roots)
        {
            Nodes.RemoveRoot(root);
            root.Dispose();
        }

        if (_opened.Count > 0)
        {
            using (await Nodes.Graph.DrainAsync().ConfigureAwait(false))
            {
                await ReadOnlyChange.CloseAsync(Nodes, _opened).ConfigureAwait(false);
            }

            _opened = [];
        }
    }

    /// <inheritdoc/>
    internal override ValueTask CommitAsync() => ReleaseAsync();

    /// <inheritdoc/>
    internal override ValueTask AbortAsync() => ReleaseAsync();

    /// <summary>Makes a root of the job's own.</summary>
    protected BlockBackend Use(BlockNode node, string what, bool writes, bool sharesWrite)
    {
        var root = Nodes.Graph.CreateBackend(node, $"{what} of job '{Id}'");
        Nodes.AddRoot(new RootUse(root, writes, sharesWrite));
        _roots.Add(root);
        return root;
    }

    /// <summary>A layer stays writable: its guest has gone over to it.</summary>
    protected void KeepOpen(NodeEntry entry) => _opened = [.. _opened.Where(one => one != entry)];

    /// <summary>Sets what copies.</summary>
    protected void CopyBy(BlockBackend disk, DirtyBitmap dirty, DirtyCopy.Step step) =>
        _copy = new DirtyCopy(disk, dirty, step);

    /// <summary>Copies what is dirty, at the job's pace.</summary>
    protected Task CopyDirtyAsync(CancellationToken cancellationToken) =>
        Copy.RunAsync(PausePointAsync, PaceAsync, cancellationToken);

    // Waits until what was copied so far may have been copied at the job's speed.
    private async ValueTask PaceAsync(long length, CancellationToken cancellationToken)
    {
        if (Speed > 0)
        {
            var due = TimeSpan.FromSeconds((double)Copy.BytesDone / Speed) - _time.GetElapsedTime(_started);
            if (due > TimeSpan.Zero)
            {
                await Task.Delay(due, _time, cancellationToken).ConfigureAwait(false);
            }
        }
    }
}
