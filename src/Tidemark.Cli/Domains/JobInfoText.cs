using System.Globalization;
using System.Text.Json;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Domains;
using Tidemark.Backup.Journal;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Domains;

/// <summary>A backup's state as <c>domjobinfo</c> prints it.</summary>
internal static class JobInfoText
{
    private const int Width = 17;

    /// <summary>For people; virsh's words where it has them.</summary>
    public static void Write(TextWriter output, DomainJobInfo? job)
    {
        if (job is null)
        {
            Line(output, "Job type:", "None");
            return;
        }

        Line(output, "Job type:", job.TypeName);
        Line(output, "Operation:", "Backup");
        Line(output, "Time elapsed:", string.Create(
            CultureInfo.InvariantCulture, $"{(long)job.Elapsed.TotalMilliseconds,-12} ms"));
        if (job.Mode == BackupMode.Push)
        {
            Line(output, "File processed:", ByteSize.Format(job.DoneBytes));
            Line(output, "File remaining:", ByteSize.Format(job.TotalBytes - job.DoneBytes));
            Line(output, "File total:", ByteSize.Format(job.TotalBytes));
        }
        else
        {
            Line(output, "Temporary disk space use:", ByteSize.Format(job.DoneBytes));
            Line(output, "Temporary disk space total:", ByteSize.Format(job.TotalBytes));
        }

        Line(output, "Mode:", job.Mode.ToText());
        if (job.Mode == BackupMode.Pull && job.Result is null)
        {
            Line(output, "Clients:", job.Clients is { } clients
                ? clients.ToString(CultureInfo.InvariantCulture)
                : "cannot be seen from here");
        }

        if (job.Checkpoint is { } checkpoint)
        {
            Line(output, "Checkpoint:", checkpoint);
        }

        foreach (var disk in job.Disks)
        {
            var kind = disk.IsIncremental ? "incremental" : "full";
            var reason = disk.Reason is null ? "" : $" ({disk.Reason})";
            Line(output, $"Disk {disk.Name}:", $"{disk.State}, {kind}{reason}");
        }

        if (job.Error is { } error)
        {
            Line(output, "Error message:", error);
        }
    }

    /// <summary>As virsh prints with <c>--rawstats</c>.</summary>
    public static void WriteRaw(TextWriter output, DomainJobInfo? job)
    {
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"Job type: {job?.TypeNumber ?? 0}"));
        output.WriteLine();
        if (job is null)
        {
            return;
        }

        List<(string Name, string Value)> figures =
        [
            ("operation", "9"),
            ("time_elapsed", Number((long)job.Elapsed.TotalMilliseconds)),
            .. job.Mode == BackupMode.Push
                ? ((string, string)[])
                [
                    ("disk_total", Number(job.TotalBytes)),
                    ("disk_processed", Number(job.DoneBytes)),
                    ("disk_remaining", Number(job.TotalBytes - job.DoneBytes)),
                ]
                : [("disk_temp_used", Number(job.DoneBytes)), ("disk_temp_total", Number(job.TotalBytes))],
        ];
        if (job.Result is { } result)
        {
            figures.Add(("success", result == JobResult.Completed ? "1" : "0"));
        }

        if (job.Error is { } error)
        {
            figures.Add(("errmsg", error));
        }

        foreach (var (name, value) in figures)
        {
            output.WriteLine($"{name}: {value}");
        }
    }

    /// <summary>As JSON; without a job only its type, 0.</summary>
    public static void WriteJson(Utf8JsonWriter writer, DomainJobInfo? job)
    {
        if (job is not null)
        {
            JobInfoFormat.Write(writer, job);
            return;
        }

        writer.WriteStartObject();
        writer.WriteNumber("type", 0);
        writer.WriteString("type_name", "None");
        writer.WriteEndObject();
    }

    private static void Line(TextWriter output, string name, string value) =>
        output.WriteLine($"{name.PadRight(Width)} {value}");

    private static string Number(long value) => value.ToString(CultureInfo.InvariantCulture);
}
