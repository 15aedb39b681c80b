using System.Text.Json.Nodes;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Planning;
using Tidemark.Qmp;

namespace Tidemark.Backup.Running;

/// <summary>
/// Carries out undo actions at a hypervisor and on this machine. Idempotent: what is not there counts as undone. Each
/// action is tried for a limited time, because nodes and bitmaps come free a moment after their users went.
/// </summary>
internal sealed class UndoExecutor
{
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(20);

    private readonly IMonitor? _monitor;
    private readonly TimeProvider _time;
    private HypervisorCapabilities? _capabilities;

    /// <summary>Creates an executor.</summary>
    /// <param name="monitor">The hypervisor; null when it is gone, and with it what it held.</param>
    /// <param name="time">The clock.</param>
    internal UndoExecutor(IMonitor? monitor, TimeProvider time)
    {
        _monitor = monitor;
        _time = time;
    }

    /// <summary>Undoes actions, last to first. An action that fails does not keep the others from being
    /// tried.</summary>
    /// <returns>What failed.</returns>
    internal async Task<IReadOnlyList<string>> UndoAllAsync(IReadOnlyList<UndoAction> actions)
    {
        List<string> errors = [];
        var monitorClosed = false;
        for (var index = actions.Count - 1; index >= 0; index--)
        {
            var action = actions[index];
            if (monitorClosed && !IsLocal(action))
            {
                continue;
            }

            try
            {
                await UndoAsync(action).ConfigureAwait(false);
            }
            catch (QmpException exception) when (exception.ErrorClass == QmpException.MonitorClosed)
            {
                monitorClosed = true;
                errors.Add($"the monitor was closed before everything was removed: {exception.Message}");
            }
            catch (Exception exception) when (exception is QmpException or BackupException or IOException
                or UnauthorizedAccessException or TimeoutException or OperationCanceledException)
            {
                errors.Add($"{action}: {exception.Message}");
            }
        }

        return errors;
    }

    /// <summary>
    /// Where a hypervisor dies when it is asked for its nodes over an ended backup job
    /// (<see cref="HypervisorCapabilities.DiesOverEndedBackups"/>), the jobs are undone before anything is asked;
    /// elsewhere nothing is done.
    /// </summary>
    /// <returns>What failed.</returns>
    internal Task<IReadOnlyList<string>> UndoJobsFirstAsync(
        IReadOnlyList<UndoAction> actions, HypervisorCapabilities capabilities) =>
        capabilities.DiesOverEndedBackups
            ? UndoAllAsync([.. actions.Where(action => action is UndoAction.Job)])
            : Task.FromResult<IReadOnlyList<string>>([]);

    /// <summary>Whether an action concerns only this machine.</summary>
    internal static bool IsLocal(UndoAction action) => action is UndoAction.LocalFile or UndoAction.LocalDirectory
        or UndoAction.TargetFile or UndoAction.CheckpointFile;

    private Task UndoAsync(UndoAction action)
    {
        switch (action)
        {
            case UndoAction.LocalFile file:
                return Delete(file.Path);
            case UndoAction.TargetFile file:
                return Delete(file.Path);
            case UndoAction.CheckpointFile file:
                return Delete(file.Path);
            case UndoAction.LocalDirectory directory:
                if (Directory.Exists(directory.Path))
                {
                    Directory.Delete(directory.Path);
                }

                return Task.CompletedTask;
        }

        return _monitor is null ? Task.CompletedTask : action switch
        {
            UndoAction.Job job => EndJobAsync(job.JobId),
            UndoAction.Export export => RemoveAsync(
                "block-export-del",
                new JsonObject { ["id"] = export.Id, ["mode"] = "hard" },
                graph => graph.Exports.All(other => other.Id != export.Id)),
            UndoAction.NbdServer => StopServerAsync(),
            UndoAction.Node node => RemoveAsync(
                "blockdev-del", new JsonObject { ["node-name"] = node.Name }, graph => graph.Find(node.Name) is null),
            UndoAction.TemporaryBitmap bitmap => RemoveBitmapAsync(bitmap.NodeName, bitmap.Name),
            UndoAction.CheckpointBitmap bitmap => RemoveBitmapAsync(bitmap.NodeName, bitmap.Name),
            UndoAction.ServerObject item => RemoveObjectAsync(item.Id),
            _ => throw new ArgumentException("an unknown undo action", nameof(action)),
        };
    }

    private static Task Delete(string path)
    {
        if (File.Exists(path))
        {
            File.Delete(path);
        }

        return Task.CompletedTask;
    }

    /// <summary>
    /// Removes a bitmap; one that is not there counts as removed. A hypervisor that was started anew may show the disk
    /// under another node's name, and a name that a run drew at random is on no other disk: such a bitmap is removed
    /// from whatever node has it. A name that a user gave may be another's elsewhere, so it is looked for only here.
    /// </summary>
    internal async Task RemoveBitmapAsync(string node, string name)
    {
        Task<GraphSnapshot?> RemoveFrom(string place) => RemoveAsync(
            "block-dirty-bitmap-remove",
            new JsonObject { ["node"] = place, ["name"] = name },
            graph => graph.Find(place)?.FindBitmap(name) is null);

        if (await RemoveFrom(node).ConfigureAwait(false) is { } graph
            && (RunNames.RunOfCheckpoint(name) ?? RunNames.RunOfTemporary(name)) is not null)
        {
            foreach (var other in graph.Nodes.Where(other => !other.IsReadOnly && other.FindBitmap(name) is not null))
            {
                await RemoveFrom(other.Name).ConfigureAwait(false);
            }
        }
    }

    private async Task EndJobAsync(string id)
    {
        var deadline = _time.GetTimestamp();
        while (true)
        {
            var jobs = await LimitAsync(token => HypervisorReader.ReadJobsAsync(_monitor!, token))
                .ConfigureAwait(false);
            var job = jobs.FirstOrDefault(job => job.Id == id);
            if (job is null)
            {
                return;
            }

            // Cancelling is asked for again as long as the job runs: one that is just beginning may refuse it.
            await TryAsync(job.IsConcluded ? "job-dismiss" : "job-cancel", new JsonObject { ["id"] = id })
                .ConfigureAwait(false);
            if (_time.GetElapsedTime(deadline) > BackupLimits.UndoTimeout)
            {
                throw new BackupException(
                    BackupErrorKind.Hypervisor, $"job '{id}' did not end in {BackupLimits.UndoTimeout} ({job.Status})");
            }

            await Task.Delay(s_pause, _time).ConfigureAwait(false);
        }
    }

    // An object that is not there, or was never made, answers so.
    private async Task RemoveObjectAsync(string id)
    {
        if (await TryAsync("object-del", new JsonObject { ["id"] = id }).ConfigureAwait(false) is { } error
            && !error.Message.Contains("not found", StringComparison.Ordinal))
        {
            throw error;
        }
    }

    // A server cannot be asked for: only what stopping it answers tells whether one runs.
    private async Task StopServerAsync()
    {
        var start = _time.GetTimestamp();
        while (await TryAsync("nbd-server-stop", null).ConfigureAwait(false) is { } error
            && !error.Message.Contains("not running", StringComparison.Ordinal))
        {
            if (_time.GetElapsedTime(start) > BackupLimits.UndoTimeout)
            {
                throw error;
            }

            await Task.Delay(s_pause, _time).ConfigureAwait(false);
        }
    }

    // The graph in which what was to be removed is gone; null when the command did it.
    private async Task<GraphSnapshot?> RemoveAsync(
        string command, JsonObject arguments, Func<GraphSnapshot, bool> isGone)
    {
        var start = _time.GetTimestamp();
        while (true)
        {
            var error = await TryAsync(command, (JsonObject)arguments.DeepClone()).ConfigureAwait(false);
            if (error is null && command != "block-export-del")
            {
                return null;
            }

            // Refused: because it is gone already, or because something still uses it for a moment. An export is
            // removed in the background, so it is looked for in both cases.
            _capabilities ??= await LimitAsync(token => HypervisorReader.ReadCapabilitiesAsync(_monitor!, token))
                .ConfigureAwait(false);
            var graph = await LimitAsync(token => HypervisorReader.ReadGraphAsync(_monitor!, _capabilities, token))
                .ConfigureAwait(false);
            if (isGone(graph))
            {
                return graph;
            }

            if (_time.GetElapsedTime(start) > BackupLimits.UndoTimeout)
            {
                throw error ?? new BackupException(
                    BackupErrorKind.Hypervisor, $"{command}: still there after {BackupLimits.UndoTimeout}");
            }

            await Task.Delay(s_pause, _time).ConfigureAwait(false);
        }
    }

    private async Task<Exception?> TryAsync(string command, JsonObject? arguments)
    {
        try
        {
            await LimitAsync(token => _monitor!.ExecuteAsync(new QmpCommand(command, arguments), token))
                .ConfigureAwait(false);
            return null;
        }
        catch (QmpException exception) when (exception.ErrorClass != QmpException.MonitorClosed)
        {
            return exception;
        }
    }

    // A hypervisor that hangs must not hang the undo for ever: each command has its time.
    private async Task<T> LimitAsync<T>(Func<CancellationToken, Task<T>> ask)
    {
        using var limit = new CancellationTokenSource(BackupLimits.UndoCommandTimeout, _time);
        try
        {
            return await ask(limit.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException exception)
        {
            throw new TimeoutException($"the hypervisor did not answer in {BackupLimits.UndoCommandTimeout}",
                exception);
        }
    }
}
