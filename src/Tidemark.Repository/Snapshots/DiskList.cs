using System.Buffers;
using System.Text.Json;
using Tidemark.Repository.Disks;

namespace Tidemark.Repository.Snapshots;

/// <summary>The file <c>disks.json</c> of a restore point: which files are disks, and how they are cut.</summary>
internal static class DiskList
{
    internal const string FileName = "disks.json";
    internal const string FileSuffix = ".raw";

    private const int Version = 1;

    internal static byte[] Encode(IEnumerable<DiskIndex> disks)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using var writer = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true });
        writer.WriteStartObject();
        writer.WriteNumber("version", Version);
        writer.WriteStartArray("disks");
        foreach (var disk in disks)
        {
            writer.WriteStartObject();
            writer.WriteString("name", disk.Name);
            writer.WriteString("file", disk.Name + FileSuffix);
            writer.WriteNumber("length", disk.Length);
            writer.WriteNumber("chunk_size", disk.ChunkSize);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
        writer.Flush();
        return buffer.WrittenSpan.ToArray();
    }

    internal static List<StoredDisk> Decode(ReadOnlyMemory<byte> json, string where)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            var version = document.RootElement.GetProperty("version").GetInt32();
            if (version != Version)
            {
                throw new RepositoryException(
                    RepositoryErrorKind.NotSupported,
                    $"{where}: {FileName} has version {version}; only {Version} is supported. Use a newer Tidemark");
            }

            return [.. document.RootElement.GetProperty("disks").EnumerateArray().Select(static disk => new StoredDisk(
                disk.GetProperty("name").GetString() ?? "",
                disk.GetProperty("file").GetString() ?? "",
                disk.GetProperty("length").GetInt64(),
                disk.GetProperty("chunk_size").GetInt32()))];
        }
        catch (Exception exception)
            when (exception is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged, $"{where}: {FileName} is damaged ({exception.Message})", exception);
        }
    }
}
