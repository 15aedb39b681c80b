// Definitions beside what the images hold. A definition says what ought to be; only the bitmaps can say what was
// recorded. So a checkpoint is as good as its worst disk, and a bitmap without a definition is listed, not used.

using Tidemark.Backup.Definitions;
using Tidemark.Backup.Domains;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Rules;

namespace Tidemark.Backup.Checkpoints;

/// <summary>What a domain's checkpoints are worth. Pure.</summary>
public sealed class CheckpointReview
{
    private CheckpointReview(
        IReadOnlyDictionary<string, IReadOnlyList<ReviewedBitmap>> checkpoints, IReadOnlyList<ReviewedBitmap> others)
    {
        Checkpoints = checkpoints;
        Others = others;
    }

    /// <summary>The bitmaps that each definition names, by the checkpoint's name.</summary>
    public IReadOnlyDictionary<string, IReadOnlyList<ReviewedBitmap>> Checkpoints { get; }

    /// <summary>The bitmaps that no definition names.</summary>
    public IReadOnlyList<ReviewedBitmap> Others { get; }

    /// <summary>Compares.</summary>
    /// <param name="tree">The definitions.</param>
    /// <param name="everyName">Every name that a checkpoint of this domain ever had.</param>
    /// <param name="graph">What the images hold.</param>
    /// <param name="disks">The domain's disks.</param>
    internal static CheckpointReview Make(
        CheckpointTree tree,
        IReadOnlySet<string> everyName,
        GraphSnapshot graph,
        IReadOnlyList<AttachedDisk> disks)
    {
        Dictionary<string, IReadOnlyList<ReviewedBitmap>> checkpoints = new(StringComparer.Ordinal);
        foreach (var definition in tree.All)
        {
            checkpoints[definition.Name!] =
            [
                .. (definition.Disks ?? []).Where(disk => disk.HasBitmap != false).Select(disk => Review(
                    disk.Name, disk.Bitmap ?? definition.Name!, graph,
                    disks.FirstOrDefault(one => one.Name == disk.Name))),
            ];
        }

        List<ReviewedBitmap> others = [];
        foreach (var disk in disks)
        {
            var chain = graph.ChainOf(disk.Node);
            foreach (var name in chain.Layers.SelectMany(layer => layer.Bitmaps).Select(bitmap => bitmap.Name)
                .Distinct())
            {
                var isDefined = checkpoints.Values.Any(bitmaps =>
                    bitmaps.Any(bitmap => bitmap.Disk == disk.Name && bitmap.Bitmap == name));
                if (!isDefined)
                {
                    others.Add(Describe(
                        disk.Name, name, StandingOf(name, everyName), null, Carriers(chain, name)));
                }
            }
        }

        return new CheckpointReview(checkpoints, others);
    }

    /// <summary>The standing of a whole checkpoint: its worst disk's.</summary>
    public BitmapStanding StandingOf(string checkpoint)
    {
        var bitmaps = Checkpoints.GetValueOrDefault(checkpoint) ?? [];
        return bitmaps.Count == 0 ? BitmapStanding.Missing
            : bitmaps.Select(bitmap => bitmap.Standing).OrderByDescending(Badness).First();
    }

    /// <summary>How one bitmap stands on a disk.</summary>
    internal static ReviewedBitmap Review(string disk, string name, GraphSnapshot graph, AttachedDisk? attached)
    {
        if (attached is null)
        {
            return new ReviewedBitmap(disk, name, BitmapStanding.NoDisk, "the domain has no such disk now", [], 0, 0);
        }

        var chain = graph.ChainOf(attached.Node);
        var carriers = Carriers(chain, name);
        var verdict = BitmapChain.Validate(chain, name);
        var standing = verdict.IsValid ? BitmapStanding.Valid
            : carriers.Count == 0 ? BitmapStanding.Missing
            : carriers.Exists(layer => layer.FindBitmap(name)!.IsInconsistent) ? BitmapStanding.Inconsistent
            : BitmapStanding.Broken;
        return Describe(disk, name, standing, verdict.Reason, carriers);
    }

    private static BitmapStanding StandingOf(string bitmap, IReadOnlySet<string> everyName) =>
        everyName.Contains(bitmap) ? BitmapStanding.Orphaned
        : RunNames.RunOfCheckpoint(bitmap) is not null ? BitmapStanding.RestorePoint
        : RunNames.RunOfTemporary(bitmap) is not null ? BitmapStanding.Temporary
        : BitmapStanding.Foreign;

    private static List<GraphNode> Carriers(NodeChain chain, string name) =>
        [.. chain.Layers.Where(layer => layer.FindBitmap(name) is not null)];

    private static ReviewedBitmap Describe(
        string disk, string name, BitmapStanding standing, string? reason, List<GraphNode> carriers) => new(
            disk,
            name,
            standing,
            reason,
            [.. carriers.Select(layer => layer.Name)],
            carriers.Sum(layer => layer.FindBitmap(name)!.Count),
            carriers.Count == 0 ? 0 : carriers[0].FindBitmap(name)!.Granularity);

    private static int Badness(BitmapStanding standing) => standing switch
    {
        BitmapStanding.Valid => 0,
        BitmapStanding.NoDisk => 1,
        BitmapStanding.Broken => 2,
        BitmapStanding.Inconsistent => 3,
        _ => 4,
    };
}
