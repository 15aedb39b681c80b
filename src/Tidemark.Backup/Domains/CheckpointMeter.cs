using Tidemark.Backup.Actions;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Rules;

namespace Tidemark.Backup.Domains;

/// <summary>Asks how much was written since a checkpoint.</summary>
/// <remarks>Over several layers only a merge tells it: they may name the same clusters. A temporary bitmap on the
/// active layer takes the merge, and is gone afterwards.</remarks>
internal sealed class CheckpointMeter
{
    private readonly DomainSession _session;

    internal CheckpointMeter(DomainSession session) => _session = session;

    /// <summary>The definition with the sizes of the disks whose bitmaps can be trusted.</summary>
    internal async Task<CheckpointDefinition> MeasureAsync(
        CheckpointDefinition definition, CancellationToken cancellationToken)
    {
        var graph = await _session.ReadGraphAsync(cancellationToken).ConfigureAwait(false);
        var disks = _session.FindDisks(graph);
        var runId = _session.Options.NewRunId();
        var temporary = new RunNames(runId).TemporaryBitmap;
        Dictionary<string, long> sizes = new(StringComparer.Ordinal);
        List<TransactionAction> actions = [];
        List<UndoAction> undo = [];
        Dictionary<string, string> merged = new(StringComparer.Ordinal);
        foreach (var disk in (definition.Disks ?? []).Where(disk => disk.HasBitmap != false))
        {
            var attached = disks.FirstOrDefault(one => one.Name == disk.Name);
            var name = disk.Bitmap ?? definition.Name!;
            if (attached is null
                || BitmapChain.Validate(graph.ChainOf(attached.Node), name) is not { IsValid: true } verdict)
            {
                continue;
            }

            if (verdict.Layers.Count == 1)
            {
                sizes[disk.Name] = verdict.Layers[0].FindBitmap(name)!.Count;
            }
            else if (verdict.Layers.All(layer => layer.VirtualSize == attached.Node.VirtualSize))
            {
                merged[disk.Name] = attached.Node.Name;
                undo.Add(new UndoAction.TemporaryBitmap(attached.Node.Name, temporary));
                actions.AddRange(BitmapChain.Merge(
                    graph.ChainOf(attached.Node), name, attached.Node.Name, temporary));
            }
        }

        if (actions.Count > 0)
        {
            await _session.WithJournalAsync(
                runId,
                async (steps, journal, jobs) =>
                {
                    await steps.ExecuteAsync(
                        new PlanStep.Transaction("merge the bitmaps of all layers", actions, undo),
                        _session.Monitor, jobs, null, cancellationToken).ConfigureAwait(false);
                    var after = await _session.ReadGraphAsync(cancellationToken).ConfigureAwait(false);
                    foreach (var (disk, node) in merged)
                    {
                        sizes[disk] = CountOf(after, node, temporary);
                    }

                    var errors = await steps.UndoAllAsync(_session.Monitor).ConfigureAwait(false);
                    if (errors.Count > 0)
                    {
                        throw new BackupException(BackupErrorKind.Hypervisor, errors[0]);
                    }

                    journal.Delete();
                }).ConfigureAwait(false);
        }

        return definition with
        {
            Disks =
            [
                .. (definition.Disks ?? []).Select(disk =>
                    sizes.TryGetValue(disk.Name, out var size) ? disk with { Size = size } : disk),
            ],
        };
    }

    private static long CountOf(GraphSnapshot graph, string node, string bitmap) =>
        graph.Find(node)?.FindBitmap(bitmap)?.Count ?? throw new BackupException(
            BackupErrorKind.Hypervisor,
            $"the hypervisor does not show bitmap '{bitmap}' on node '{node}' after it made it");
}
