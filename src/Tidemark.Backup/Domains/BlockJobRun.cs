using System.Text.Json.Nodes;
using Tidemark.Backup.Actions;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Running;
using Tidemark.Qmp;

namespace Tidemark.Backup.Domains;

/// <summary>One job that changes a backing chain, from its start to its end.</summary>
internal sealed class BlockJobRun
{
    private readonly DomainSession _session;
    private readonly string _jobId;
    private readonly StepExecutor _steps;
    private readonly RunJournal _journal;
    private readonly JobWatcher _jobs;
    private readonly Action<long, long> _report;

    internal BlockJobRun(
        DomainSession session,
        string jobId,
        StepExecutor steps,
        RunJournal journal,
        JobWatcher jobs,
        Action<long, long> report)
    {
        _session = session;
        _jobId = jobId;
        _steps = steps;
        _journal = journal;
        _jobs = jobs;
        _report = report;
    }

    /// <summary>Starts the job.</summary>
    internal Task StartAsync(
        string purpose, string command, JsonObject arguments, CancellationToken cancellationToken) =>
        _steps.ExecuteAsync(
            new PlanStep.Command(purpose, new QmpCommand(command, arguments), [new UndoAction.Job(_jobId)]),
            _session.Monitor, _jobs, null, cancellationToken);

    /// <summary>Brings it to its end.</summary>
    /// <param name="stop">The state in which it waits to be told to end; null for none.</param>
    /// <param name="merge">What is merged then; null for nothing.</param>
    /// <param name="node">The node that the merge makes bitmaps on.</param>
    /// <param name="end">The command that ends it; null: it is cancelled in that state, which leaves a complete copy
    /// behind; or it ends by itself.</param>
    /// <param name="cancellationToken">Gives up.</param>
    internal async Task EndAsync(
        string? stop,
        IReadOnlyList<TransactionAction>? merge,
        string node,
        string? end,
        CancellationToken cancellationToken)
    {
        if (stop is not null)
        {
            await _jobs.WaitForStatusAsync(
                _jobId, stop, job => _report(job.CurrentProgress, job.TotalProgress), cancellationToken)
                    .ConfigureAwait(false);
            if (merge is { Count: > 0 })
            {
                await _steps.ExecuteAsync(
                    new PlanStep.Transaction(
                        $"merge the layers' bitmaps into those of node '{node}'",
                        merge,
                        [
                            .. merge.OfType<BitmapAdd>().Select(add =>
                                new UndoAction.CheckpointBitmap(add.Node, add.Name)),
                        ]),
                    _session.Monitor, _jobs, null, cancellationToken).ConfigureAwait(false);
            }

            await _session.Monitor.ExecuteAsync(
                end is null
                    ? new QmpCommand("block-job-cancel", new JsonObject { ["device"] = _jobId })
                    : new QmpCommand(end, new JsonObject { ["id"] = _jobId }),
                cancellationToken).ConfigureAwait(false);
        }

        await WaitForEndAsync(cancellationToken).ConfigureAwait(false);
        _journal.Committed(_jobId, []);
        _journal.Delete();
    }

    private async Task WaitForEndAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            var jobs = await HypervisorReader.ReadJobsAsync(_session.Monitor, cancellationToken)
                .ConfigureAwait(false);
            var job = jobs.FirstOrDefault(one => one.Id == _jobId) ?? throw new BackupException(
                BackupErrorKind.Hypervisor, $"the hypervisor's job '{_jobId}' vanished");
            _report(job.CurrentProgress, job.TotalProgress);
            if (job.Error is { } error)
            {
                throw new BackupException(BackupErrorKind.Hypervisor, $"the job '{_jobId}' failed: {error}");
            }

            if (job.IsConcluded)
            {
                await _session.Monitor.ExecuteAsync(
                    new QmpCommand("job-dismiss", new JsonObject { ["id"] = _jobId }), CancellationToken.None)
                        .ConfigureAwait(false);
                return;
            }

            await _jobs.WaitForChangeAsync(cancellationToken).ConfigureAwait(false);
        }
    }
}
