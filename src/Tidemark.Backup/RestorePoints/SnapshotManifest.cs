using System.Buffers;
using System.Text.Json;
using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.RestorePoints;

/// <summary>
/// <c>tidemark.json</c>: what a restore point knows of itself. The next backup decides by it which bitmap is the one
/// that this restore point created, so it is read strictly: what is missing or out of range is an error.
/// </summary>
public sealed record SnapshotManifest
{
    /// <summary>The file's name in the snapshot.</summary>
    public const string FileName = "tidemark.json";

    /// <summary>The longest file that is read.</summary>
    public const int MaximumLength = 4 << 20;

    private const int Version = 1;
    private const int MaximumText = 4096;

    /// <summary>The virtual machine's name.</summary>
    public required string VmName { get; init; }

    /// <summary>Pull or push.</summary>
    public required BackupMode Mode { get; init; }

    /// <summary>The run's id.</summary>
    public required string RunId { get; init; }

    /// <summary>The checkpoint's id; null when no disk can keep one.</summary>
    public string? Checkpoint { get; init; }

    /// <summary>The disks.</summary>
    public required IReadOnlyList<ManifestDisk> Disks { get; init; }

    /// <summary>Renders the file.</summary>
    public byte[] ToJson()
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            writer.WriteStartObject();
            writer.WriteNumber("version", Version);
            writer.WriteString("vm", VmName);
            writer.WriteString("mode", Mode.ToText());
            writer.WriteString("run", RunId);
            writer.WriteString("checkpoint", Checkpoint);
            writer.WriteStartArray("disks");
            foreach (var disk in Disks)
            {
                WriteDisk(writer, disk);
            }

            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();
    }

    /// <summary>Reads the file.</summary>
    /// <param name="json">Its content.</param>
    /// <param name="where">The snapshot, for messages.</param>
    /// <exception cref="BackupException">It is damaged, too long, or of a newer version.</exception>
    public static SnapshotManifest Parse(ReadOnlyMemory<byte> json, string where)
    {
        if (json.Length > MaximumLength)
        {
            throw Damaged(where, $"it has {json.Length} bytes, over the limit of {MaximumLength}");
        }

        try
        {
            using var document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = 8 });
            var root = document.RootElement;
            var version = root.GetProperty("version").GetInt32();
            if (version != Version)
            {
                throw Damaged(where, $"its version is {version}; this Tidemark reads version {Version}");
            }

            return new SnapshotManifest
            {
                VmName = Text(root, "vm"),
                Mode = DiskKindNames.ParseMode(Text(root, "mode")) ?? throw new FormatException("'mode' is no mode"),
                RunId = Text(root, "run"),
                Checkpoint = OptionalText(root, "checkpoint"),
                Disks = [.. root.GetProperty("disks").EnumerateArray().Select(ReadDisk)],
            };
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException
            or InvalidOperationException
            or FormatException)
        {
            throw Damaged(where, exception.Message, exception);
        }
    }

    private static void WriteDisk(Utf8JsonWriter writer, ManifestDisk disk)
    {
        writer.WriteStartObject();
        writer.WriteString("name", disk.Name);
        writer.WriteString("node", disk.Node);
        writer.WriteString("driver", disk.Driver);
        writer.WriteString("filename", disk.Filename.Length <= MaximumText ? disk.Filename
            : disk.Filename[..MaximumText]);
        writer.WriteNumber("size", disk.Size);
        writer.WriteNumber("chunk_size", disk.ChunkSize);
        writer.WriteString("kind", disk.Kind.ToText());
        writer.WriteString("reason", disk.Reason);
        writer.WriteString("parent", disk.Parent);
        writer.WriteString("bitmap", disk.Bitmap);
        writer.WriteNumber("granularity", disk.Granularity);
        writer.WriteNumber("bytes_dirty", disk.BytesDirty);
        writer.WriteNumber("bytes_read", disk.BytesRead);
        writer.WriteNumber("bytes_stored", disk.BytesStored);
        writer.WriteNumber("seconds", Math.Round(disk.Seconds, 3));
        writer.WriteEndObject();
    }

    private static ManifestDisk ReadDisk(JsonElement disk)
    {
        var result = new ManifestDisk
        {
            Name = Text(disk, "name"),
            Node = Text(disk, "node"),
            Driver = Text(disk, "driver"),
            Filename = Text(disk, "filename"),
            Size = Number(disk, "size"),
            ChunkSize = checked((int)Math.Min(Number(disk, "chunk_size"), int.MaxValue)),
            Kind = DiskKindNames.ParseKind(Text(disk, "kind")) ?? throw new FormatException("'kind' is no kind"),
            Reason = Text(disk, "reason"),
            Parent = OptionalText(disk, "parent"),
            Bitmap = OptionalText(disk, "bitmap"),
            Granularity = Number(disk, "granularity"),
            BytesDirty = Number(disk, "bytes_dirty"),
            BytesRead = Number(disk, "bytes_read"),
            BytesStored = Number(disk, "bytes_stored"),
            Seconds = disk.GetProperty("seconds").GetDouble(),
        };
        return DiskName.Refuse(result.Name) is { } refusal ? throw new FormatException(refusal) : result;
    }

    private static string Text(JsonElement element, string name) =>
        OptionalText(element, name) ?? throw new FormatException($"'{name}' is null");

    private static string? OptionalText(JsonElement element, string name)
    {
        var text = element.GetProperty(name).GetString();
        return text?.Length > MaximumText
            ? throw new FormatException($"'{name}' has {text.Length} characters, over the limit of {MaximumText}")
            : text;
    }

    private static long Number(JsonElement element, string name)
    {
        var number = element.GetProperty(name).GetInt64();
        return number >= 0 ? number : throw new FormatException($"'{name}' is {number}");
    }

    private static BackupException Damaged(string where, string why, Exception? cause = null) =>
        new(BackupErrorKind.Manifest, $"{FileName} of {where} cannot be used: {why}", cause);
}
