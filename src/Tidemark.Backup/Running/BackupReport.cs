using System.Text.Json;
using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Running;

/// <summary>What a backup did.</summary>
public sealed record BackupReport
{
    /// <summary>The restore point's snapshot id.</summary>
    public required string SnapshotId { get; init; }

    /// <summary>The virtual machine's name.</summary>
    public required string Name { get; init; }

    /// <summary>Pull or push.</summary>
    public required BackupMode Mode { get; init; }

    /// <summary>The new checkpoint's id; null when no disk can keep one.</summary>
    public string? Checkpoint { get; init; }

    /// <summary>The disks in their order.</summary>
    public required IReadOnlyList<DiskReport> Disks { get; init; }

    /// <summary>Writes the report as one JSON object: the answer of <c>tidemark backup --json</c>.</summary>
    public void WriteTo(Utf8JsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteString("snapshot_id", SnapshotId);
        writer.WriteString("name", Name);
        writer.WriteString("mode", Mode.ToText());
        writer.WriteString("checkpoint", Checkpoint);
        writer.WriteStartArray("disks");
        foreach (var disk in Disks)
        {
            writer.WriteStartObject();
            writer.WriteString("name", disk.Name);
            writer.WriteNumber("size", disk.Size);
            writer.WriteString("kind", disk.Kind.ToText());
            writer.WriteString("reason", disk.Reason);
            writer.WriteString("parent", disk.Parent);
            writer.WriteNumber("bytes_dirty", disk.BytesDirty);
            writer.WriteNumber("bytes_read", disk.BytesRead);
            writer.WriteNumber("bytes_stored", disk.BytesStored);
            writer.WriteNumber("seconds", Math.Round(disk.Seconds, 3));
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
    }
}
