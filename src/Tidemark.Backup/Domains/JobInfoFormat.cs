using System.Buffers;
using System.Text.Json;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;

namespace Tidemark.Backup.Domains;

/// <summary>A job's information as JSON: the answer of <c>domjobinfo --json</c>, and the file of the last
/// job.</summary>
public static class JobInfoFormat
{
    // libvirt's VIR_DOMAIN_JOB_OPERATION_BACKUP.
    private const int BackupOperation = 9;

    /// <summary>Writes it as one object; the first fields have the names of libvirt's typed parameters.</summary>
    public static void Write(Utf8JsonWriter writer, DomainJobInfo info)
    {
        writer.WriteStartObject();
        writer.WriteNumber("type", info.TypeNumber);
        writer.WriteString("type_name", info.TypeName);
        writer.WriteNumber("operation", BackupOperation);
        writer.WriteNumber("time_elapsed", (long)info.Elapsed.TotalMilliseconds);
        if (info.Mode == BackupMode.Push)
        {
            writer.WriteNumber("disk_total", info.TotalBytes);
            writer.WriteNumber("disk_processed", info.DoneBytes);
            writer.WriteNumber("disk_remaining", info.TotalBytes - info.DoneBytes);
        }
        else
        {
            writer.WriteNumber("disk_temp_used", info.DoneBytes);
            writer.WriteNumber("disk_temp_total", info.TotalBytes);
        }

        if (info.Result is { } result)
        {
            writer.WriteBoolean("success", result == JobResult.Completed);
            writer.WriteString("errmsg", info.Error);
        }

        writer.WriteString("mode", info.Mode.ToText());
        writer.WriteString("run", info.RunId);
        writer.WriteString("begun", JobFormat.Time(info.Begun));
        writer.WriteString("checkpoint", info.Checkpoint);
        if (info.Clients is { } clients)
        {
            writer.WriteNumber("clients", clients);
        }
        else
        {
            writer.WriteNull("clients");
        }

        writer.WriteStartArray("disks");
        foreach (var disk in info.Disks)
        {
            writer.WriteStartObject();
            writer.WriteString("name", disk.Name);
            writer.WriteString("state", disk.State);
            writer.WriteString("backupmode", disk.IsIncremental ? "incremental" : "full");
            writer.WriteString("reason", disk.Reason);
            writer.WriteNumber("total", disk.Total);
            writer.WriteNumber("done", disk.Done);
            writer.WriteString("source", disk.Source);
            writer.WriteString("error", disk.Error);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
    }

    /// <summary>The bytes of the file that keeps the last job.</summary>
    internal static byte[] ToBytes(DomainJobInfo info)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            Write(writer, info);
        }

        return buffer.WrittenSpan.ToArray();
    }

    /// <summary>Reads that file.</summary>
    /// <exception cref="BackupException">It is damaged.</exception>
    internal static DomainJobInfo Read(byte[] bytes, string path)
    {
        try
        {
            using var document = JsonDocument.Parse(bytes);
            return Read(document.RootElement);
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException
            or InvalidOperationException or FormatException)
        {
            throw new BackupException(
                BackupErrorKind.State, $"'{path}' is damaged ({exception.Message}); delete it", exception);
        }
    }

    private static DomainJobInfo Read(JsonElement info)
    {
        var isPush = Text(info, "mode") == "push";
        return new DomainJobInfo
        {
            RunId = Text(info, "run"),
            Mode = isPush ? BackupMode.Push : BackupMode.Pull,
            Result = info.GetProperty("type").GetInt32() is var type and >= (int)JobResult.Completed
                and <= (int)JobResult.Cancelled
                ? (JobResult)type
                : null,
            Begun = JobFormat.ReadTime(Text(info, "begun")),
            Elapsed = TimeSpan.FromMilliseconds(info.GetProperty("time_elapsed").GetInt64()),
            TotalBytes = info.GetProperty(isPush ? "disk_total" : "disk_temp_total").GetInt64(),
            DoneBytes = info.GetProperty(isPush ? "disk_processed" : "disk_temp_used").GetInt64(),
            Clients = info.GetProperty("clients") is { ValueKind: JsonValueKind.Number } clients
                ? clients.GetInt32()
                : null,
            Checkpoint = info.GetProperty("checkpoint").GetString(),
            Error = info.TryGetProperty("errmsg", out var error) ? error.GetString() : null,
            Disks =
            [
                .. info.GetProperty("disks").EnumerateArray().Select(disk => new JobInfoDisk(
                    Text(disk, "name"),
                    Text(disk, "state"),
                    Text(disk, "backupmode") == "incremental",
                    disk.GetProperty("reason").GetString(),
                    disk.GetProperty("total").GetInt64(),
                    disk.GetProperty("done").GetInt64(),
                    Text(disk, "source"),
                    disk.GetProperty("error").GetString())),
            ],
        };
    }

    private static string Text(JsonElement element, string name) =>
        element.GetProperty(name).GetString() ?? throw new FormatException($"'{name}' is null");
}
