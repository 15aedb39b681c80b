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
                errors.Add($"{UndoText.Describe(action)}: {exception.Message}");
            }
        }

        return errors;
    }

    /// <summary>
    /// Undoes what a journal names whose command is gone: which of it is to be undone depends on what the hypervisor
    /// shows by now. Exports and jobs are undone before it is asked for its nodes, always: QEMU 7.2 aborts when it is
    /// asked while a <c>blockdev-create</c> formats one, and 5.2 while a backup job that has ended is still listed. The
    /// exports first, as everywhere: nobody reads a view that nothing keeps frozen any more.
    /// </summary>
    /// <param name="actions">What the journal names, in the order of the effects.</param>
    /// <param name="readGraph">Asks for the graph, once.</param>
    /// <param name="isToBeUndone">Whether an action is to be undone in that graph.</param>
    /// <returns>What failed.</returns>
    internal async Task<IReadOnlyList<string>> UndoLeftAsync(
        IReadOnlyList<UndoAction> actions,
        Func<Task<GraphSnapshot>> readGraph,
        Func<UndoAction, GraphSnapshot, bool> isToBeUndone)
    {
        // What fails here fails again below, and is reported there.
        await UndoAllAsync([.. actions.Where(action => action is UndoAction.Export or UndoAction.Job)])
            .ConfigureAwait(false);
        var graph = await readGraph().ConfigureAwait(false);
        return await UndoAllAsync([.. actions.Where(action => isToBeUndone(action, graph))]).ConfigureAwait(false);
    }

    /// <summary>Whether an action concerns only this machine.</summary>
    internal static bool IsLocal(UndoAction action) => action is UndoAction.LocalFile or UndoAction.LocalDirectory
        or UndoAction.TargetFile or UndoAction.CheckpointFile or UndoAction.ScratchFile or UndoAction.ServerSocket;

    private Task UndoAsync(UndoAction action)
    {
        switch (action)
        {
            case UndoAction.LocalFile file:
                FileRemoval.Delete(file.Path);
                return Task.CompletedTask;
            case UndoAction.CheckpointFile file:
                FileRemoval.Delete(file.Path);
                return Task.CompletedTask;
            case UndoAction.ScratchFile file:
                FileRemoval.DeleteOurs(file.Path, file.Identity);
                return Task.CompletedTask;
            case UndoAction.TargetFile file:
                FileRemoval.DeleteOurs(file.Path, file.Identity);
                return Task.CompletedTask;
            case UndoAction.ServerSocket socket:
                FileRemoval.DeleteSocket(socket.Path);
                return Task.CompletedTask;
            case UndoAction.LocalDirectory directory:
                if (Directory.Exists(directory.Path))
                {
                    Directory.Delete(directory.Path);
                }

                return Task.CompletedTask;
        }

        return _monitor is null ? Task.CompletedTask : UndoThereAsync(action, UndoCommands.Of(action));
    }

    // At the hypervisor, by the very commands that a plan shows.
    private Task UndoThereAsync(UndoAction action, IReadOnlyList<QmpCommand> commands) => action switch
    {
        UndoAction.Job job => EndJobAsync(job.JobId, cancel: commands[0], dismiss: commands[1]),
        UndoAction.Export export => RemoveExportAsync(export.Id, commands[0]),
        UndoAction.NbdServer => StopServerAsync(commands[0]),
        UndoAction.Node node => RemoveAsync(commands[0], graph => graph.Find(node.Name) is null),
        UndoAction.TemporaryBitmap bitmap => RemoveBitmapAsync(bitmap.NodeName, bitmap.Name),
        UndoAction.CheckpointBitmap bitmap => RemoveBitmapAsync(bitmap.NodeName, bitmap.Name),
        UndoAction.ServerObject => RemoveObjectAsync(commands[0]),
        _ => throw new ArgumentException("an unknown undo action", nameof(action)),
    };

    /// <summary>
    /// Removes a bitmap; one that is not there counts as removed. A hypervisor that was started anew may show the disk
    /// under another node's name, and a name that a run drew at random is on no other disk: such a bitmap is removed
    /// from whatever node has it. A name that a user gave may be another's elsewhere, so it is looked for only here.
    /// </summary>
    internal async Task RemoveBitmapAsync(string node, string name)
    {
        Task<GraphSnapshot?> RemoveFrom(string place) => RemoveAsync(
            UndoCommands.Of(new UndoAction.TemporaryBitmap(place, name))[0],
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

    private async Task EndJobAsync(string id, QmpCommand cancel, QmpCommand dismiss)
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
            await TryAsync(job.IsConcluded ? dismiss : cancel).ConfigureAwait(false);
            if (_time.GetElapsedTime(deadline) > BackupLimits.UndoTimeout)
            {
                throw new BackupException(
                    BackupErrorKind.Hypervisor, $"job '{id}' did not end in {BackupLimits.UndoTimeout} ({job.Status})");
            }

            await Task.Delay(s_pause, _time).ConfigureAwait(false);
        }
    }

    // An object that is not there, or was never made, answers so.
    private async Task RemoveObjectAsync(QmpCommand command)
    {
        if (await TryAsync(command).ConfigureAwait(false) is { } error
            && !error.Message.Contains("not found", StringComparison.Ordinal))
        {
            throw error;
        }
    }

    // A server cannot be asked for: only what stopping it answers tells whether one runs.
    private async Task StopServerAsync(QmpCommand command)
    {
        var start = _time.GetTimestamp();
        while (await TryAsync(command).ConfigureAwait(false) is { } error
            && !error.Message.Contains("not running", StringComparison.Ordinal))
        {
            if (_time.GetElapsedTime(start) > BackupLimits.UndoTimeout)
            {
                throw error;
            }

            await Task.Delay(s_pause, _time).ConfigureAwait(false);
        }
    }

    // An export is removed in the background. It is looked for without asking for nodes: see UndoLeftAsync.
    private async Task RemoveExportAsync(string id, QmpCommand command)
    {
        var start = _time.GetTimestamp();
        while (true)
        {
            var error = await TryAsync(command).ConfigureAwait(false);
            var exports = await LimitAsync(token => HypervisorReader.ReadExportsAsync(_monitor!, token))
                .ConfigureAwait(false);
            if (exports.All(other => other.Id != id))
            {
                return;
            }

            if (_time.GetElapsedTime(start) > BackupLimits.UndoTimeout)
            {
                throw error ?? StillThere(command);
            }

            await Task.Delay(s_pause, _time).ConfigureAwait(false);
        }
    }

    // The graph in which what was to be removed is gone; null when the command did it.
    private async Task<GraphSnapshot?> RemoveAsync(QmpCommand command, Func<GraphSnapshot, bool> isGone)
    {
        var start = _time.GetTimestamp();
        while (true)
        {
            if (await TryAsync(command).ConfigureAwait(false) is not { } error)
            {
                return null;
            }

            // Refused: because it is gone already, or because something still uses it for a moment.
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
                throw error;
            }

            await Task.Delay(s_pause, _time).ConfigureAwait(false);
        }
    }

    private static BackupException StillThere(QmpCommand command) => new(
        BackupErrorKind.Hypervisor, $"{command.Name}: still there after {BackupLimits.UndoTimeout}");

    private async Task<Exception?> TryAsync(QmpCommand command)
    {
        try
        {
            await LimitAsync(token => _monitor!.ExecuteAsync(Fresh(command), token)).ConfigureAwait(false);
            return null;
        }
        catch (QmpException exception) when (exception.ErrorClass != QmpException.MonitorClosed)
        {
            return exception;
        }
    }

    // A command's arguments are the monitor's once they were handed over, and a command may be tried again.
    private static QmpCommand Fresh(QmpCommand command) =>
        command with { Arguments = (JsonObject?)command.Arguments?.DeepClone() };

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
