using System.Text.Json;

namespace Tidemark.Backup.Restore;

/// <summary>What a restore did.</summary>
/// <param name="SnapshotId">The restore point.</param>
/// <param name="Disks">The disks in their order.</param>
public sealed record RestoreReport(string SnapshotId, IReadOnlyList<RestoredDisk> Disks)
{
    /// <summary>Writes the report as one JSON object.</summary>
    public void WriteTo(Utf8JsonWriter writer)
    {
        writer.WriteStartObject();
        writer.WriteString("snapshot_id", SnapshotId);
        writer.WriteStartArray("disks");
        foreach (var disk in Disks)
        {
            writer.WriteStartObject();
            writer.WriteString("name", disk.Disk);
            writer.WriteString("path", disk.Path);
            writer.WriteNumber("size", disk.Size);
            writer.WriteNumber("bytes_written", disk.BytesWritten);
            writer.WriteNumber("seconds", Math.Round(disk.Seconds, 3));
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
    }
}
