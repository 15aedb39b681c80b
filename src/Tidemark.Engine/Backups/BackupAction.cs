using Tidemark.Blocks.Filters;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Engine.Events;
using Tidemark.Engine.Jobs;
using Tidemark.Engine.Nodes;
using Tidemark.Qmp;

namespace Tidemark.Engine.Backups;

/// <summary><c>blockdev-backup</c> as a step of a transaction: the filter goes in while nothing is under way.</summary>
[System.Diagnostics.CodeAnalysis.SuppressMessage(
    "Design", "CA1001", Justification = "the job belongs to the job set from the moment when it is added there")]
internal sealed class BackupAction(BackupOptions options, NodeSet nodes, JobSet jobs, IEventSink events) : GraphAction
{
    private BackupJob? _job;
    private bool _committed;

    /// <inheritdoc/>
    public override async ValueTask PrepareAsync(CancellationToken cancellationToken)
    {
        jobs.CheckId(options.JobId);
        var source = nodes.Get(options.Device);
        var target = nodes.Get(options.Target);
        Check(source, target);
        var filterName = options.FilterNodeName ?? nodes.Graph.NextImplicitName();
        if (options.FilterNodeName is not null)
        {
            nodes.CheckName(filterName);
        }

        var bitmap =
            options.BitmapName is { } name ? new BackupBitmap(source.Node, name, options.BitmapMode!.Value) : null;
        NodeEntry? entry = null;
        try
        {
            entry = new NodeEntry(CreateFilter(filterName, source.Node, target.Node, bitmap), null);
            nodes.Add(entry);
            _job = new BackupJob(options, nodes, source, target, entry, bitmap, events);
            jobs.Add(_job);
            _job.Install();
            nodes.Permissions.Check();
        }
        catch
        {
            await UndoAsync(entry, bitmap).ConfigureAwait(false);
            throw;
        }
    }

    /// <inheritdoc/>
    public override void Commit()
    {
        _committed = true;
        jobs.Start(_job!);
    }

    /// <inheritdoc/>
    public override void Abort()
    {
        _job!.UndoInstall();
        jobs.Abandon(_job);
    }

    /// <inheritdoc/>
    public override ValueTask CleanUpAsync() => _committed ? default : _job!.ReleaseAsync();

    private CopyBeforeWriteFilter CreateFilter(string name, BlockNode source, BlockNode target, BackupBitmap? bitmap) =>
        new(name, source, target, new CopyBeforeWriteOptions
        {
            OnError =
                options.BreakGuestWrite ? CopyBeforeWritePolicy.BreakGuestWrite : CopyBeforeWritePolicy.BreakSnapshot,
            Timeout = options.CopyTimeout,
            Access = options.Sync == BackupSync.Bitmap ? bitmap!.Bitmap : null,
            TargetIsSnapshot = options.Sync == BackupSync.None,
            Copy = new() { Graph = nodes.Graph },
        });

    private static void Check(NodeEntry source, NodeEntry target)
    {
        foreach (var entry in (ReadOnlySpan<NodeEntry>)[target, source])
        {
            if (entry.JobType is { } type)
            {
                throw Refuse($"Node '{entry.Node.Name}' is busy: block device is in use by block job: {type}");
            }
        }

        if (ReferenceEquals(source, target))
        {
            throw Refuse("Source and target cannot be the same");
        }

        if (target.IsReadOnly)
        {
            throw Refuse("Block node is read-only");
        }

        if (source.Node.Length != target.Node.Length)
        {
            throw Refuse("Source and target image have different sizes");
        }
    }

    // Prepare failed: what was done of it is taken back, in the reverse order.
    private async ValueTask UndoAsync(NodeEntry? entry, BackupBitmap? bitmap)
    {
        if (_job is not null)
        {
            _job.UndoInstall();
            if (jobs.Find(options.JobId) == _job)
            {
                jobs.Abandon(_job);
            }

            await _job.ReleaseAsync().ConfigureAwait(false);
            return;
        }

        bitmap?.Abort(null);
        if (entry is not null && nodes.Find(entry.Node) is not null)
        {
            await nodes.RemoveAsync(entry).ConfigureAwait(false);
        }
        else if (entry is not null)
        {
            await entry.Node.DisposeAsync().ConfigureAwait(false);
        }
    }

    private static QmpException Refuse(string description) => new(QmpException.GenericError, description);
}
