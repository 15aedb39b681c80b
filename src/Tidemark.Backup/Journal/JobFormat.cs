using System.Globalization;
using System.Text.Json;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Planning;

namespace Tidemark.Backup.Journal;

/// <summary>A domain's backup as the journal's JSON.</summary>
internal static class JobFormat
{
    internal static void Write(Utf8JsonWriter writer, JournalJob job)
    {
        writer.WriteString("mode", job.Mode.ToText());
        writer.WriteString("checkpoint", job.Checkpoint);
        writer.WriteBoolean("keeps-checkpoint", job.KeepsCheckpoint);
        if (job.Nbd is { Path: { } path })
        {
            writer.WriteString("nbd-path", path);
        }
        else if (job.Nbd is { } nbd)
        {
            writer.WriteString("nbd-host", nbd.Host);
            writer.WriteNumber("nbd-port", nbd.Port);
        }

        writer.WriteString("definition", job.Definition);
        writer.WriteStartArray("disks");
        foreach (var disk in job.Disks)
        {
            writer.WriteStartObject();
            writer.WriteString("name", disk.Name);
            writer.WriteString("node", disk.Node);
            writer.WriteString("job", disk.JobId);
            writer.WriteString("target-node", disk.TargetNode);
            if (disk.Export is { } export)
            {
                writer.WriteStartObject("export");
                writer.WriteString("id", export.Id);
                writer.WriteString("name", export.Name);
                writer.WriteString("bitmap", export.Bitmap);
                writer.WriteEndObject();
            }

            writer.WriteNumber("size", disk.Size);
            writer.WriteBoolean("incremental", disk.IsIncremental);
            writer.WriteString("reason", disk.Reason);
            writer.WriteString("source", disk.Source);
            writer.WriteString("target", disk.Target);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
    }

    internal static JournalJob ReadJob(JsonElement job) => new()
    {
        Mode = Text(job, "mode") == "pull" ? BackupMode.Pull : BackupMode.Push,
        Checkpoint = job.GetProperty("checkpoint").GetString(),
        KeepsCheckpoint = job.GetProperty("keeps-checkpoint").GetBoolean(),
        Nbd = job.TryGetProperty("nbd-path", out var path) ? NbdAddress.Unix(path.GetString()!)
            : job.TryGetProperty("nbd-host", out var host)
                ? NbdAddress.Tcp(host.GetString()!, job.GetProperty("nbd-port").GetInt32())
                : null,
        Definition = Text(job, "definition"),
        Disks =
        [
            .. job.GetProperty("disks").EnumerateArray().Select(disk => new JournalJobDisk
            {
                Name = Text(disk, "name"),
                Node = Text(disk, "node"),
                JobId = Text(disk, "job"),
                TargetNode = Text(disk, "target-node"),
                Export = disk.TryGetProperty("export", out var export)
                    ? new JournalExport(
                        Text(export, "id"), Text(export, "name"), export.GetProperty("bitmap").GetString())
                    : null,
                Size = disk.GetProperty("size").GetInt64(),
                IsIncremental = disk.GetProperty("incremental").GetBoolean(),
                Reason = disk.GetProperty("reason").GetString(),
                Source = Text(disk, "source"),
                Target = Text(disk, "target"),
            }),
        ],
    };

    internal static void Write(Utf8JsonWriter writer, JobEnd end)
    {
        writer.WriteString("result", end.Result switch
        {
            JobResult.Completed => "completed",
            JobResult.Failed => "failed",
            _ => "cancelled",
        });
        writer.WriteString("error", end.Error);
        writer.WriteString("at", Time(end.At));
        writer.WriteBoolean("keeps-checkpoint", end.KeepsCheckpoint);
        writer.WriteBoolean("keeps-targets", end.KeepsTargets);
    }

    internal static JobEnd ReadEnd(JsonElement end) => new(
        Text(end, "result") switch
        {
            "completed" => JobResult.Completed,
            "failed" => JobResult.Failed,
            "cancelled" => JobResult.Cancelled,
            var other => throw new FormatException($"the result '{other}' is not known"),
        },
        end.GetProperty("error").GetString(),
        ReadTime(Text(end, "at")),
        end.GetProperty("keeps-checkpoint").GetBoolean(),
        end.GetProperty("keeps-targets").GetBoolean());

    internal static string Time(DateTimeOffset time) => time.ToString("O", CultureInfo.InvariantCulture);

    internal static DateTimeOffset ReadTime(string text) =>
        DateTimeOffset.ParseExact(text, "O", CultureInfo.InvariantCulture, DateTimeStyles.RoundtripKind);

    private static string Text(JsonElement element, string name) =>
        element.GetProperty(name).GetString() ?? throw new FormatException($"'{name}' is null");
}
