using System.Globalization;
using Spectre.Console;
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
        var results = console.Results;
        var table = ResultTable.Create(
            "point", "how", ">changed", ">read", ">stored", ">took", ">writes meanwhile", ">restored", "compared");
        foreach (var point in Points)
        {
            table.AddCells(
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
        table.WriteTo(console, indent: 2);
        writer.WriteLine();
        foreach (var point in Points)
        {
            results.MarkupLineInterpolated(Verdict(point));
        }

        foreach (var leftover in Leftovers)
        {
            results.MarkupLineInterpolated($"  [red]✗[/] left behind: {leftover}");
        }

        if (Leftovers.Count == 0)
        {
            results.MarkupLine(
                "  [green]✓[/] nothing is left on the engine: no job, node, export or bitmap "
                + "but the last checkpoint");
        }

        writer.WriteLine();
        results.MarkupLine(IsGood
            ? $"  [bold]All good[/] in {Duration.Format(Time)}."
            : "  [red]Not good[/]: see above.");
    }

    // With its markup; what is put in is text.
    private FormattableString Verdict(DemoPoint point)
    {
        var (size, all) = (ByteSize.Format(DiskLength), Count(WriteCount));
        if (point.Instant is { } instant)
        {
            var write = $"{Count(instant)} of {all}";
            return $"  [green]✓[/] {point.ShortId}: all {size} equal the guest's disk after its write {write}";
        }

        var range = $"{Count(point.FirstInstant)} to {Count(point.LastInstant)}";
        return $"  [red]✗[/] {point.ShortId}: the restored disk is the guest's disk after none of its writes {range}";
    }

    private static string Count(int count) => count.ToString("#,0", CultureInfo.InvariantCulture);
}
