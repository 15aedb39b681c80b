using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;
using Tidemark.Repository.Blobs;

namespace Tidemark.Repository.Snapshots;

/// <summary>The JSON of a snapshot file (restic, doc/design.rst, "Snapshots").</summary>
internal static class SnapshotJson
{
    internal static ReadOnlyMemory<byte> Encode(Snapshot snapshot, TreeOwner owner)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using var writer = new Utf8JsonWriter(
            buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
        writer.WriteStartObject();
        writer.WriteString("time", GoTime.Format(snapshot.Time));
        if (snapshot.Parent is { } parent)
        {
            writer.WriteString("parent", parent.ToString());
        }

        writer.WriteString("tree", snapshot.Tree.ToString());
        WriteList(writer, "paths", snapshot.Paths);
        writer.WriteString("hostname", snapshot.HostName);
        writer.WriteString("username", snapshot.UserName);
        writer.WriteNumber("uid", owner.UserId);
        writer.WriteNumber("gid", owner.GroupId);
        WriteList(writer, "tags", snapshot.Tags);
        writer.WriteEndObject();
        writer.Flush();
        return buffer.WrittenMemory;
    }

    internal static Snapshot Decode(BlobId id, ReadOnlyMemory<byte> json, string where)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            var root = document.RootElement;
            return new Snapshot
            {
                Id = id,
                Time = GoTime.TryParse(root.GetProperty("time").GetString(), out var time)
                    ? time
                    : throw new FormatException("it has no readable time"),
                Tree = BlobId.Parse(root.GetProperty("tree").GetString() ?? ""),
                Parent = Text(root, "parent") is { } parent ? BlobId.Parse(parent) : null,
                Paths = List(root, "paths"),
                HostName = Text(root, "hostname") ?? "",
                UserName = Text(root, "username") ?? "",
                Tags = List(root, "tags"),
            };
        }
        catch (Exception exception)
            when (exception is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged, $"{where} is damaged: it is no snapshot ({exception.Message})", exception);
        }
    }

    private static void WriteList(Utf8JsonWriter writer, string name, IReadOnlyList<string> texts)
    {
        writer.WriteStartArray(name);
        foreach (var text in texts)
        {
            writer.WriteStringValue(text);
        }

        writer.WriteEndArray();
    }

    private static string? Text(JsonElement root, string name) =>
        root.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

    private static string[] List(JsonElement root, string name) =>
        root.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.Array
            ? [.. value.EnumerateArray().Select(static item => item.GetString() ?? "")]
            : [];
}
