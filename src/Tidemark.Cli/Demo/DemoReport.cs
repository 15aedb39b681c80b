using System.Globalization;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Demo;

/// <summary>What the demo found, for people.</summary>
internal sealed record DemoReport
{
    /// <summary>The size of the disk in bytes.</summary>
    public required long DiskLength { get; init; }

    /// <summary>The restore points, oldest first.</summary>
    public required IReadOnlyList<DemoPoint> Points { get; init; }

    /// <summary>How many writes the guest made in all.</summary>
    public required int WriteCount { get; init; }

    /// <summary>What the backups left on the engine or in the directory; nothing, if all is well.</summary>
    public required IReadOnlyList<string> Leftovers { get; init; }

    /// <summary>How long all of it took.</summary>
    public required TimeSpan Time { get; init; }

    /// <summary>Whether every restored disk was right and nothing was left.</summary>
    public bool IsGood => Points.All(point => point.Instant is not null) && Leftovers.Count == 0;

    /// <summary>Prints the table and what follows from it.</summary>
    public void Write(CommandConsole console)
    {
        var writer = console.Output;
        var style = console.OutputStyle;
        var table = new TextTable(
            "point", "how", ">changed", ">read", ">stored", ">took", ">writes meanwhile", ">restored", "compared");
        foreach (var point in Points)
        {
            table.Add(
                point.ShortId,
                $"{point.Kind}, {point.Mode}",
                ByteSize.Format(point.DirtyBytes),
                ByteSize.Format(point.ReadBytes),
                ByteSize.Format(point.StoredBytes),
                Duration.Format(point.BackupTime),
                Count(point.WritesMeanwhile),
                Duration.Format(point.RestoreTime),
                point.Instant is null ? "DIFFERENT" : "equal");
        }

        writer.WriteLine();
        table.Write(writer, style, "  ");
        writer.WriteLine();
        foreach (var point in Points)
        {
            writer.WriteLine("  " + Verdict(point, style));
        }

        foreach (var leftover in Leftovers)
        {
            writer.WriteLine($"  {style.Bad("✗")} left behind: {leftover}");
        }

        if (Leftovers.Count == 0)
        {
            writer.WriteLine(
                $"  {style.Good("✓")} nothing is left on the engine: no job, node, export or bitmap "
                + "but the last checkpoint");
        }

        writer.WriteLine();
        writer.WriteLine(IsGood
            ? $"  {style.Bold("All good")} in {Duration.Format(Time)}."
            : $"  {style.Bad("Not good")}: see above.");
    }

    private string Verdict(DemoPoint point, Style style)
    {
        var size = ByteSize.Format(DiskLength);
        if (point.Instant is not { } instant)
        {
            return $"{style.Bad("✗")} {point.ShortId}: the restored disk is the guest's disk after none of its writes "
                + $"{Count(point.FirstInstant)} to {Count(point.LastInstant)}";
        }

        return $"{style.Good("✓")} {point.ShortId}: all {size} equal the guest's disk "
            + $"after its write {Count(instant)} of {Count(WriteCount)}";
    }

    private static string Count(int count) => count.ToString("#,0", CultureInfo.InvariantCulture);
}
