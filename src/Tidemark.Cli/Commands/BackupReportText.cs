using Spectre.Console;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Running;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Commands;

/// <summary>What a backup did, for people.</summary>
internal static class BackupReportText
{
    /// <summary>How many digits of an id are shown.</summary>
    public const int ShortIdLength = 8;

    /// <summary>Prints one heading, one row for each disk, and why a disk was not read as an increment.</summary>
    public static void Write(BackupReport report, TimeSpan time, CommandConsole console)
    {
        var id = report.SnapshotId[..ShortIdLength];
        console.Results.MarkupLineInterpolated(
            $"restore point [bold]{id}[/] of {report.Name}, {report.Mode.ToText()}, {Duration.Format(time)}");
        string[] headings = ["disk", ">size", "kind", ">changed", ">read", ">stored", ">took"];
        var hasReasons = report.Disks.Any(disk => disk.Reason.Length > 0);
        var table = ResultTable.Create(hasReasons ? [.. headings, "why"] : headings);
        foreach (var disk in report.Disks)
        {
            string[] cells =
            [
                disk.Name,
                ByteSize.Format(disk.Size),
                disk.Kind.ToText(),
                ByteSize.Format(disk.BytesDirty),
                ByteSize.Format(disk.BytesRead),
                ByteSize.Format(disk.BytesStored),
                Duration.Format(TimeSpan.FromSeconds(disk.Seconds)),
            ];
            table.AddCells(hasReasons ? [.. cells, disk.Reason] : cells);
        }

        table.WriteTo(console, indent: 2);
    }
}
