using System.Globalization;
using System.Text.Json;
using Tidemark.Backup.Checkpoints;
using Tidemark.Backup.Definitions;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Domains;

/// <summary>Checkpoints as text and as JSON.</summary>
internal static class CheckpointText
{
    private const int Width = 15;

    /// <summary>The table, then the bitmaps that no definition names.</summary>
    public static void WriteList(
        CommandConsole console,
        CheckpointTree tree,
        CheckpointReview review,
        List<CheckpointDefinition> chosen,
        bool withParent)
    {
        var table = withParent
            ? ResultTable.Create("Name", "Creation Time", "Parent", "State")
            : ResultTable.Create("Name", "Creation Time", "State");
        foreach (var one in chosen)
        {
            List<string> cells = [one.Name!, Time(one)];
            if (withParent)
            {
                cells.Add(tree.ParentOf(one)?.Name ?? "");
            }

            cells.Add(State(tree, review, one));
            table.AddCells([.. cells]);
        }

        table.WriteTo(console);
        if (review.Others.Count == 0)
        {
            return;
        }

        console.Output.WriteLine();
        console.Output.WriteLine("Bitmaps of no checkpoint:");
        var others = ResultTable.Create("Disk", "Bitmap", "State", "Nodes");
        foreach (var bitmap in review.Others)
        {
            others.AddCells(bitmap.Disk, bitmap.Bitmap, Word(bitmap.Standing), string.Join(" ", bitmap.Nodes));
        }

        others.WriteTo(console);
    }

    /// <summary>The tree, as virsh draws it.</summary>
    public static void WriteTree(TextWriter output, CheckpointTree tree, List<CheckpointDefinition> chosen)
    {
        var names = chosen.Select(one => one.Name!).ToHashSet(StringComparer.Ordinal);
        foreach (var root in chosen.Where(one => one.Parent is null || !names.Contains(one.Parent)).ToList())
        {
            output.WriteLine(root.Name);
            WriteBranch(output, tree, root, "", names);
            output.WriteLine();
        }
    }

    /// <summary>One checkpoint for people.</summary>
    public static void WriteInfo(
        TextWriter output,
        string domain,
        CheckpointTree tree,
        CheckpointReview review,
        CheckpointDefinition checkpoint)
    {
        var name = checkpoint.Name!;
        Line(output, "Name:", name);
        Line(output, "Domain:", domain);
        Line(output, "Current:", tree.Current == name ? "yes" : "no");
        Line(output, "Parent:", tree.ParentOf(checkpoint)?.Name ?? "-");
        Line(output, "Children:", Number(tree.ChildrenOf(name).Count()));
        Line(output, "Descendants:", Number(tree.DescendantsOf(name).Count));
        Line(output, "State:", Word(review.StandingOf(name)));
        foreach (var bitmap in review.Checkpoints.GetValueOrDefault(name) ?? [])
        {
            var why = bitmap.Reason is null ? "" : $": {bitmap.Reason}";
            Line(output, $"Disk {bitmap.Disk}:", $"{Word(bitmap.Standing)}{why}");
        }
    }

    /// <summary>The list as one JSON object.</summary>
    public static void WriteListJson(
        Utf8JsonWriter writer, CheckpointTree tree, CheckpointReview review, List<CheckpointDefinition> chosen)
    {
        writer.WriteStartObject();
        writer.WriteString("current", tree.Current);
        writer.WriteStartArray("checkpoints");
        foreach (var one in chosen)
        {
            WriteJson(writer, tree, review, one);
        }

        writer.WriteEndArray();
        writer.WriteStartArray("other_bitmaps");
        foreach (var bitmap in review.Others)
        {
            Write(writer, bitmap);
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
    }

    /// <summary>One checkpoint as a JSON object.</summary>
    public static void WriteJson(
        Utf8JsonWriter writer, CheckpointTree tree, CheckpointReview review, CheckpointDefinition checkpoint)
    {
        var name = checkpoint.Name!;
        writer.WriteStartObject();
        writer.WriteString("name", name);
        writer.WriteNumber("creation_time", checkpoint.CreationTime ?? 0);
        writer.WriteString("parent", tree.ParentOf(checkpoint)?.Name);
        writer.WriteString("description", checkpoint.Description);
        writer.WriteBoolean("current", tree.Current == name);
        writer.WriteStartArray("children");
        foreach (var child in tree.ChildrenOf(name))
        {
            writer.WriteStringValue(child.Name);
        }

        writer.WriteEndArray();
        writer.WriteString("state", Word(review.StandingOf(name)));
        writer.WriteStartArray("disks");
        foreach (var bitmap in review.Checkpoints.GetValueOrDefault(name) ?? [])
        {
            Write(writer, bitmap);
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
    }

    /// <summary>The word for a standing.</summary>
    public static string Word(BitmapStanding standing) => standing switch
    {
        BitmapStanding.Valid => "valid",
        BitmapStanding.Missing => "missing",
        BitmapStanding.Inconsistent => "inconsistent",
        BitmapStanding.Broken => "broken",
        BitmapStanding.NoDisk => "no disk",
        BitmapStanding.Foreign => "foreign",
        BitmapStanding.Orphaned => "orphaned",
        BitmapStanding.RestorePoint => "restore point",
        BitmapStanding.Temporary => "temporary",
        _ => throw new ArgumentOutOfRangeException(nameof(standing)),
    };

    private static void Write(Utf8JsonWriter writer, ReviewedBitmap bitmap)
    {
        writer.WriteStartObject();
        writer.WriteString("disk", bitmap.Disk);
        writer.WriteString("bitmap", bitmap.Bitmap);
        writer.WriteString("state", Word(bitmap.Standing));
        writer.WriteString("reason", bitmap.Reason);
        writer.WriteNumber("bytes", bitmap.Bytes);
        writer.WriteNumber("granularity", bitmap.Granularity);
        writer.WriteStartArray("nodes");
        foreach (var node in bitmap.Nodes)
        {
            writer.WriteStringValue(node);
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
    }

    private static void WriteBranch(
        TextWriter output, CheckpointTree tree, CheckpointDefinition one, string prefix, HashSet<string> names)
    {
        // What was drawn once is not drawn again, whatever the files say.
        names.Remove(one.Name!);
        var children = tree.ChildrenOf(one.Name!).Where(child => names.Contains(child.Name!)).ToList();
        for (var index = 0; index < children.Count; index++)
        {
            output.WriteLine($"{prefix}  |");
            output.WriteLine($"{prefix}  +- {children[index].Name}");
            WriteBranch(
                output, tree, children[index], prefix + (index == children.Count - 1 ? "    " : "  | "), names);
        }
    }

    private static string State(CheckpointTree tree, CheckpointReview review, CheckpointDefinition one) =>
        Word(review.StandingOf(one.Name!)) + (tree.Current == one.Name ? ", current" : "");

    private static string Time(CheckpointDefinition one) =>
        DateTimeOffset.FromUnixTimeSeconds(one.CreationTime ?? 0).UtcDateTime
            .ToString("yyyy-MM-dd HH:mm:ss '+0000'", CultureInfo.InvariantCulture);

    private static void Line(TextWriter output, string name, string value) =>
        output.WriteLine($"{name.PadRight(Width)} {value}");

    private static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);
}
