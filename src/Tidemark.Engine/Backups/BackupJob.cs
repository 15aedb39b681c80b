using System.Text.Json.Nodes;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Copy;
using Tidemark.Blocks.Filters;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Engine.Events;
using Tidemark.Engine.Jobs;
using Tidemark.Engine.Nodes;

namespace Tidemark.Engine.Backups;

// A backup job is a copy-before-write filter over the disk, and a copy of what it was told to copy, both through the
// same BlockCopy, so that no cluster is copied twice. It ends in one of three ways:
//
//   success   everything is on the target, and the target is flushed. One drained section takes the filter out and
//             settles the bitmap
//   failure   the target or the disk failed, or old data could not be saved before a guest's write, which then went on:
//             the point in time is lost. The filter is stopped first, so that no guest waits; then a drained section
//             takes it out. The bitmap keeps what it had
//   cancel    as a failure. It is the ordinary end of sync=none, which has no other
//
// The filter is stopped before the drained section because a drain waits for the guest's requests, and one of those may
// be waiting for a target that does not answer.

/// <summary>QEMU's backup job.</summary>
internal sealed class BackupJob : Job
{
    /// <summary>How long a target that has failed may take to flush what it has.</summary>
    private static readonly TimeSpan s_flushTimeout = TimeSpan.FromSeconds(10);

    private readonly BackupOptions _options;
    private readonly NodeSet _nodes;
    private readonly NodeEntry _source;
    private readonly NodeEntry _target;
    private readonly NodeEntry _filterEntry;
    private readonly CopyBeforeWriteFilter _filter;
    private readonly BackupBitmap? _bitmap;
    private readonly BlockBackend _targetRoot;
    private readonly IEventSink _events;
    private DirtyBitmap? _notCopied;

    /// <summary>Puts the job's parts together; nothing is installed yet.</summary>
    internal BackupJob(
        BackupOptions options,
        NodeSet nodes,
        NodeEntry source,
        NodeEntry target,
        NodeEntry filterEntry,
        BackupBitmap? bitmap,
        IEventSink events)
        : base(options.JobId, events)
    {
        _options = options;
        _nodes = nodes;
        _source = source;
        _target = target;
        _filterEntry = filterEntry;
        _filter = (CopyBeforeWriteFilter)filterEntry.Node;
        _bitmap = bitmap;
        _events = events;
        _targetRoot = nodes.Graph.CreateBackend(target.Node, $"job '{options.JobId}'");
        AutoFinalize = options.AutoFinalize;
        AutoDismiss = options.AutoDismiss;
        source.JobType = target.JobType = filterEntry.JobType = Type;
    }

    /// <inheritdoc/>
    internal override string Type => "backup";

    /// <inheritdoc/>
    internal override bool IsBlockJob => true;

    /// <inheritdoc/>
    internal override long CurrentProgress => _filter.Copy.BytesDone;

    /// <inheritdoc/>
    internal override long TotalProgress => _filter.Copy.BytesTotal;

    /// <inheritdoc/>
    internal override async Task RunAsync(CancellationToken cancellationToken)
    {
        if (_options.Sync == BackupSync.None)
        {
            // Nothing to do but to be there until somebody ends it, or the snapshot breaks.
            await _filter.Copy.Stopped.WaitAsync(cancellationToken).ConfigureAwait(false);
            throw _filter.Copy.Failure!;
        }

        var run = new BlockCopyRun
        {
            BeforeStep = (_, token) => PausePointAsync(token),
            OnError = Report,
        };
        // A target that does not answer must not hold a job that is given up: what is under way on it is asked to end,
        // as QEMU does. What has not ended counts as not copied (GetRemaining), and the filter is disposed of after it.
        using var givingUp = cancellationToken.UnsafeRegister(
            static filter => ((CopyBeforeWriteFilter)filter!).Stop(), _filter);
        try
        {
            await _filter.Copy.RunAsync(run, cancellationToken).ConfigureAwait(false);
            await _targetRoot.FlushAsync(cancellationToken).ConfigureAwait(false);
        }
        catch when (_options.BitmapMode == BitmapMode.Always)
        {
            await KeepWhatIsCopiedAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <inheritdoc/>
    internal override async ValueTask CommitAsync()
    {
        using (await _nodes.Graph.DrainAsync().ConfigureAwait(false))
        {
            _bitmap?.Commit();
            _filter.Uninstall();
        }

        await ReleaseAsync().ConfigureAwait(false);
    }

    /// <inheritdoc/>
    internal override async ValueTask AbortAsync()
    {
        _filter.Stop();
        using (await _nodes.Graph.DrainAsync().ConfigureAwait(false))
        {
            _bitmap?.Abort(_notCopied);
            _filter.Uninstall();
        }

        await ReleaseAsync().ConfigureAwait(false);
    }

    /// <summary>Puts the filter over the disk. In the drained section of the job's transaction: the point in
    /// time.</summary>
    internal void Install() => _filter.Install();

    /// <summary>Takes back what <see cref="Install"/> and the constructor did, in the same drained section.</summary>
    internal void UndoInstall()
    {
        _filter.Uninstall();
        _bitmap?.Abort(null);
    }

    /// <summary>Gives up everything that is held of the graph. The filter is not in anybody's way any more.</summary>
    internal async ValueTask ReleaseAsync()
    {
        _source.JobType = _target.JobType = _filterEntry.JobType = null;
        _targetRoot.Dispose();
        await _nodes.RemoveAsync(_filterEntry).ConfigureAwait(false);
    }

    // bitmap-mode=always: after a failure the bitmap forgets what was copied. Only what is durable counts as copied,
    // and what was not copied is noted before the flush: so the flush covers everything that is not noted. Without the
    // flush the bitmap keeps all that it had.
    private async Task KeepWhatIsCopiedAsync()
    {
        var remaining = _filter.Copy.GetRemaining();
        try
        {
            await _targetRoot.FlushAsync().AsTask().WaitAsync(s_flushTimeout).ConfigureAwait(false);
            _notCopied = remaining;
        }
        catch (Exception exception) when (exception is BlockException or IOException or TimeoutException)
        {
            // The error that ended the backup is the one to report.
        }
    }

    private ValueTask<BlockCopyDecision> Report(BlockCopyError error)
    {
        _events.Emit("BLOCK_JOB_ERROR", new JsonObject
        {
            ["device"] = Id,
            ["operation"] = error.IsRead ? "read" : "write",
            ["action"] = "report",
        });
        return ValueTask.FromResult(BlockCopyDecision.Fail);
    }
}
