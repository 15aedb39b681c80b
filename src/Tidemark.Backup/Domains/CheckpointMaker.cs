using Tidemark.Backup.Actions;
using Tidemark.Backup.Checkpoints;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Rules;
using Tidemark.Backup.Running;

namespace Tidemark.Backup.Domains;

/// <summary>A new checkpoint, checked and ready to be made; alone, or in a backup's transaction.</summary>
internal sealed class CheckpointMaker
{
    private CheckpointMaker(CheckpointDefinition definition, IReadOnlyList<BitmapAdd> bitmaps)
    {
        Definition = definition;
        Bitmaps = bitmaps;
    }

    /// <summary>The definition with everything filled in.</summary>
    internal CheckpointDefinition Definition { get; }

    /// <summary>The bitmaps, one a disk that takes part, in the order of the disks.</summary>
    internal IReadOnlyList<BitmapAdd> Bitmaps { get; }

    /// <summary>Fills a request in and checks it.</summary>
    /// <exception cref="BackupException">It cannot be made; nothing was touched.</exception>
    internal static CheckpointMaker Align(
        DomainSession session, GraphSnapshot graph, CheckpointDefinition request, long? granularity)
    {
        if (CheckpointRule.RefuseGranularity(granularity) is { } impossible)
        {
            throw new BackupException(BackupErrorKind.Request, impossible.ToString()) { Class = impossible.Class };
        }

        var disks = session.FindDisks(graph);
        var tree = session.Checkpoints.Load();
        if (tree.All.Count >= CheckpointStore.MaximumCheckpoints)
        {
            throw new BackupException(
                BackupErrorKind.State,
                $"the domain has {tree.All.Count} checkpoints; delete some that nobody needs");
        }

        var definition = CheckpointAlignment.Align(
            request,
            [.. disks.Select(disk => disk.ToDefinition())],
            session.Options.Time.GetUtcNow().ToUnixTimeSeconds(),
            tree.Current);
        if (!CheckpointDefinition.IsName(definition.Name!))
        {
            throw ErrorClass.InvalidArgument.ToException(CheckpointDefinition.DescribeRefusal(definition.Name!));
        }

        if (CheckpointRule.RefuseDefinition(
            definition, tree.All.ToDictionary(one => one.Name!, StringComparer.Ordinal)) is { } refused)
        {
            throw new BackupException(BackupErrorKind.Conflict, refused.ToString()) { Class = refused.Class };
        }

        List<BitmapAdd> bitmaps = [];
        List<CheckpointDisk> aligned = [];
        foreach (var disk in definition.Disks!)
        {
            var attached = disks.First(one => one.Name == disk.Name);
            aligned.Add(disk.HasBitmap == false || !CanTakePart(session, request, definition, disk, attached)
                ? new CheckpointDisk(disk.Name) { HasBitmap = false }
                : disk);
            if (aligned[^1].HasBitmap == false)
            {
                continue;
            }

            var chain = graph.ChainOf(attached.Node);
            RefuseTaken(disk, definition.Name!, chain);
            bitmaps.Add(BitmapChain.Create(
                chain, disk.Bitmap ?? definition.Name!, granularity ?? BackupLimits.DefaultGranularity));
        }

        if (bitmaps.Count == 0)
        {
            throw ErrorClass.Unsupported.ToException("no disk of the domain can keep a checkpoint");
        }

        return new CheckpointMaker(definition with { Disks = aligned }, bitmaps);
    }

    /// <summary>Writes the definition beside its place, so that what could fail about it has failed before the
    /// instant.</summary>
    internal void Prepare(DomainSession session, StepExecutor steps)
    {
        steps.WillDo(new UndoAction.CheckpointFile(session.Checkpoints.PathOf(Definition.Name!)));
        steps.WillDo(new UndoAction.LocalFile(session.Checkpoints.PreparedPathOf(Definition.Name!)));
        session.Checkpoints.Prepare(Definition);
    }

    /// <summary>The transaction of a checkpoint alone.</summary>
    internal PlanStep.Transaction ToStep() => new(
        $"begin checkpoint '{Definition.Name}'",
        Bitmaps,
        [.. Bitmaps.Select(bitmap => new UndoAction.CheckpointBitmap(bitmap.Node, bitmap.Name))]);

    // A disk that cannot keep a bitmap stands in the way only if it was asked for by its name.
    private static bool CanTakePart(
        DomainSession session,
        CheckpointDefinition request,
        CheckpointDefinition definition,
        CheckpointDisk disk,
        AttachedDisk attached)
    {
        if (KindRule.RefuseCheckpoint(attached.Node) is not { } refusal)
        {
            return true;
        }

        if (request.Disks is not null)
        {
            throw ErrorClass.Unsupported.ToException(
                $"checkpoint for disk {disk.Name} unsupported for storage type {attached.Node.Driver}: {refusal}");
        }

        session.Options.Note($"checkpoint '{definition.Name}': disk '{disk.Name}' takes no part: {refusal}");
        return false;
    }

    private static void RefuseTaken(CheckpointDisk disk, string checkpoint, NodeChain chain)
    {
        var name = disk.Bitmap ?? checkpoint;
        if (chain.Layers.FirstOrDefault(layer => layer.FindBitmap(name) is not null) is { } taken)
        {
            throw new BackupException(
                BackupErrorKind.Conflict,
                $"disk '{disk.Name}': node '{taken.Name}' has a bitmap '{name}' that belongs to no checkpoint of this "
                    + "domain. Choose another name; or if the bitmap is a checkpoint's whose definition was lost, "
                    + "redefine it");
        }
    }
}
