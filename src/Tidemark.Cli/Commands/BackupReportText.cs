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
        var style = console.OutputStyle;
        console.Output.WriteLine(
            $"restore point {style.Bold(report.SnapshotId[..ShortIdLength])} of {report.Name}, {report.Mode.ToText()}, "
            + Duration.Format(time));
        var table = new TextTable("disk", ">size", "kind", ">changed", ">read", ">stored", ">took", "why?");
        foreach (var disk in report.Disks)
        {
            table.Add(
                disk.Name,
                ByteSize.Format(disk.Size),
                disk.Kind.ToText(),
                ByteSize.Format(disk.BytesDirty),
                ByteSize.Format(disk.BytesRead),
                ByteSize.Format(disk.BytesStored),
                Duration.Format(TimeSpan.FromSeconds(disk.Seconds)),
                disk.Reason);
        }

        table.Write(console.Output, style, "  ");
    }
}
