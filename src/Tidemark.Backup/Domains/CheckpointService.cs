using Tidemark.Backup.Actions;
using Tidemark.Backup.Checkpoints;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Rules;
using Tidemark.Backup.Running;
using Tidemark.Qmp;

namespace Tidemark.Backup.Domains;

/// <summary>A domain's checkpoints: made, listed as they really stand, deleted.</summary>
public sealed class CheckpointService
{
    private readonly DomainServiceOptions _options;
    private readonly HypervisorSource _source;

    /// <summary>Creates a service.</summary>
    /// <param name="options">Where the state is kept.</param>
    /// <param name="source">The hypervisor, or an image at rest as one.</param>
    public CheckpointService(DomainServiceOptions options, HypervisorSource source)
    {
        _options = options;
        _source = source;
    }

    /// <summary>Makes a checkpoint: one bitmap a disk, all at one instant.</summary>
    /// <param name="request">What is asked for.</param>
    /// <param name="granularity">Bytes per bit, a power of two; null for 64 KiB.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="BackupException">It failed, and nothing is left.</exception>
    public async Task<CheckpointDefinition> CreateAsync(
        CheckpointDefinition request, long? granularity, CancellationToken cancellationToken = default)
    {
        var session = await OpenAsync(onlyLooks: false, cancellationToken).ConfigureAwait(false);
        await using var _ = session.ConfigureAwait(false);
        var graph = await session.ReadGraphAsync(cancellationToken).ConfigureAwait(false);
        var made = CheckpointMaker.Align(session, graph, request, granularity);
        await session.WithJournalAsync(
            _options.NewRunId(),
            async (steps, journal, jobs) =>
            {
                made.Prepare(session, steps);
                await steps.ExecuteAsync(made.ToStep(), session.Monitor, jobs, null, cancellationToken)
                    .ConfigureAwait(false);
                session.Checkpoints.Commit(made.Definition);
                journal.Delete();
            }).ConfigureAwait(false);
        return made.Definition;
    }

    /// <summary>Writes the definition of a checkpoint whose bitmaps exist already.</summary>
    /// <param name="request">The definition.</param>
    /// <param name="validate">Whether to refuse it when a bitmap cannot be trusted.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="BackupException">It contradicts the others, or was found not to be valid.</exception>
    public async Task<CheckpointDefinition> RedefineAsync(
        CheckpointDefinition request, bool validate, CancellationToken cancellationToken = default)
    {
        var session = await OpenAsync(onlyLooks: false, cancellationToken).ConfigureAwait(false);
        await using var _ = session.ConfigureAwait(false);
        var graph = await session.ReadGraphAsync(cancellationToken).ConfigureAwait(false);
        var disks = session.FindDisks(graph);
        var definition = CheckpointAlignment.AlignRedefinition(request, [.. disks.Select(disk => disk.ToDefinition())]);
        var tree = session.Checkpoints.Load();
        if (definition.Parent is { } parent)
        {
            if (tree.Find(parent) is null)
            {
                throw ErrorClass.InvalidArgument.ToException($"parent {parent} for moment {definition.Name} not found");
            }

            if (tree.WouldCircle(definition.Name!, parent))
            {
                throw ErrorClass.InvalidArgument.ToException(
                    $"parent {parent} would create cycle to {definition.Name}");
            }
        }

        foreach (var disk in validate ? (definition.Disks ?? []).Where(disk => disk.HasBitmap != false) : [])
        {
            var reviewed = CheckpointReview.Review(
                disk.Name, disk.Bitmap ?? definition.Name!, graph,
                disks.FirstOrDefault(one => one.Name == disk.Name));
            if (reviewed.Standing is not (BitmapStanding.Valid or BitmapStanding.NoDisk))
            {
                throw ErrorClass.CheckpointInconsistent.ToException(
                    $"missing or broken bitmap '{reviewed.Bitmap}' for disk '{disk.Name}': {reviewed.Reason}");
            }
        }

        session.Checkpoints.Redefine(definition);
        return definition;
    }

    /// <summary>The checkpoints, and what each is worth.</summary>
    public async Task<(CheckpointTree Tree, CheckpointReview Review)> ListAsync(
        CancellationToken cancellationToken = default)
    {
        var session = await OpenAsync(onlyLooks: true, cancellationToken).ConfigureAwait(false);
        await using var _ = session.ConfigureAwait(false);
        var graph = await session.ReadGraphAsync(cancellationToken).ConfigureAwait(false);
        var tree = session.Checkpoints.Load();
        return (tree, CheckpointReview.Make(
            tree, session.Checkpoints.EveryName(), graph, session.FindDisks(graph)));
    }

    /// <summary>A checkpoint's definition with the bytes that were written since, for each disk whose bitmaps can be
    /// trusted.</summary>
    public async Task<CheckpointDefinition> MeasureAsync(
        string name, CancellationToken cancellationToken = default)
    {
        var session = await OpenAsync(onlyLooks: false, cancellationToken).ConfigureAwait(false);
        await using var _ = session.ConfigureAwait(false);
        var definition = session.Checkpoints.Load().Get(name);
        return await new CheckpointMeter(session).MeasureAsync(definition, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Deletes checkpoints: their bitmaps on every layer of every disk, in one transaction, and their
    /// definitions.</summary>
    /// <param name="name">The checkpoint.</param>
    /// <param name="withChildren">Whether all that follow it go too.</param>
    /// <param name="onlyChildren">Whether only those go.</param>
    /// <param name="onlyMetadata">Whether the bitmaps stay.</param>
    /// <param name="cancellationToken">Gives up before anything is removed.</param>
    /// <returns>The names of those that were deleted.</returns>
    public async Task<IReadOnlyList<string>> DeleteAsync(
        string name,
        bool withChildren,
        bool onlyChildren,
        bool onlyMetadata,
        CancellationToken cancellationToken = default)
    {
        var session = await OpenAsync(onlyLooks: false, cancellationToken).ConfigureAwait(false);
        await using var _ = session.ConfigureAwait(false);
        var tree = session.Checkpoints.Load();
        var target = tree.Get(name);
        List<CheckpointDefinition> going = [];
        if (withChildren || onlyChildren)
        {
            going.AddRange(tree.DescendantsOf(name).Reverse());
        }

        if (!onlyChildren)
        {
            going.Add(target);
        }

        if (!onlyMetadata)
        {
            RefuseInUse(session, going);
            await RemoveBitmapsAsync(session, going, cancellationToken).ConfigureAwait(false);
        }

        foreach (var definition in going)
        {
            session.Checkpoints.Delete(definition.Name!);
        }

        return [.. going.Select(definition => definition.Name!)];
    }

    private static void RefuseInUse(DomainSession session, List<CheckpointDefinition> going)
    {
        if (session.ReadRunningJob()?.Job?.Checkpoint is { } made && going.Exists(one => one.Name == made))
        {
            throw new BackupException(
                BackupErrorKind.Busy,
                $"the running backup makes checkpoint '{made}'; wait for its end, or end it with domjobabort");
        }
    }

    // R4. A bitmap that is nowhere is no reason to keep its definition: the wish is that nothing of it is left.
    private async Task RemoveBitmapsAsync(
        DomainSession session, List<CheckpointDefinition> going, CancellationToken cancellationToken)
    {
        var graph = await session.ReadGraphAsync(cancellationToken).ConfigureAwait(false);
        var disks = session.FindDisks(graph);
        List<TransactionAction> actions = [];
        List<GraphNode> layers = [];
        foreach (var definition in going)
        {
            foreach (var disk in (definition.Disks ?? []).Where(disk => disk.HasBitmap != false))
            {
                if (disks.FirstOrDefault(one => one.Name == disk.Name) is not { } attached)
                {
                    _options.Note($"disk '{disk.Name}' is not there: what it holds of '{definition.Name}' stays");
                    continue;
                }

                var bitmaps = BitmapChain.Delete(graph.ChainOf(attached.Node), disk.Bitmap ?? definition.Name!);
                if (bitmaps.Count == 0)
                {
                    _options.Note(
                        $"bitmap '{disk.Bitmap ?? definition.Name}' was on no layer of disk '{disk.Name}' any more");
                }

                actions.AddRange(bitmaps.Select(bitmap => new BitmapRemove(bitmap.Node, bitmap.Name)));
                layers.AddRange(bitmaps.Select(bitmap => graph.Find(bitmap.Node)!).Where(layer => layer.IsReadOnly));
            }
        }

        if (actions.Count == 0)
        {
            return;
        }

        var command = new PlanStep.Transaction("delete the bitmaps", actions, []).ToCommand();
        if (await TryAsync(session, command, isLast: layers.Count == 0, cancellationToken).ConfigureAwait(false))
        {
            return;
        }

        await LayerReopener.RunAsync(
            session.Monitor,
            session.Capabilities,
            layers.DistinctBy(layer => layer.Name),
            _options.Note,
            () => session.Monitor.ExecuteAsync(command, cancellationToken),
            cancellationToken).ConfigureAwait(false);
    }

    // A layer that is shown as read-only may let its bitmaps go all the same: one that a snapshot has covered is not
    // opened so. A transaction that is refused has changed nothing, so it is tried before anything is reopened.
    private static async Task<bool> TryAsync(
        DomainSession session, QmpCommand command, bool isLast, CancellationToken cancellationToken)
    {
        try
        {
            await session.Monitor.ExecuteAsync(command, cancellationToken).ConfigureAwait(false);
            return true;
        }
        catch (QmpException exception) when (!isLast && exception.ErrorClass != QmpException.MonitorClosed)
        {
            return false;
        }
    }

    private Task<DomainSession> OpenAsync(bool onlyLooks, CancellationToken cancellationToken) =>
        DomainSession.OpenAsync(_options, _source, onlyLooks, cancellationToken);
}
