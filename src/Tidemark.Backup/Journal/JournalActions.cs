using System.Text.Json;
using Tidemark.Backup.Planning;

namespace Tidemark.Backup.Journal;

/// <summary>What takes an effect back, as the journal's JSON.</summary>
internal static class JournalActions
{
    /// <summary>Writes one.</summary>
    internal static void Write(Utf8JsonWriter writer, UndoAction action)
    {
        writer.WriteStartObject();
        switch (action)
        {
            case UndoAction.Job job:
                Write(writer, "job", "id", job.JobId);
                break;
            case UndoAction.Export export:
                Write(writer, "export", "id", export.Id);
                break;
            case UndoAction.NbdServer { Address.Path: { } path }:
                Write(writer, "nbd-server", "path", path);
                break;
            case UndoAction.NbdServer server:
                Write(writer, "nbd-server", "host", server.Address.Host!);
                writer.WriteNumber("port", server.Address.Port);
                break;
            case UndoAction.Node node:
                Write(writer, "node", "name", node.Name);
                break;
            case UndoAction.TemporaryBitmap bitmap:
                Write(writer, "temporary-bitmap", "node", bitmap.NodeName);
                writer.WriteString("name", bitmap.Name);
                break;
            case UndoAction.CheckpointBitmap bitmap:
                Write(writer, "checkpoint-bitmap", "node", bitmap.NodeName);
                writer.WriteString("name", bitmap.Name);
                break;
            case UndoAction.LocalFile file:
                Write(writer, "file", "path", file.Path);
                break;
            case UndoAction.ServerSocket file:
                Write(writer, "socket", "path", file.Path);
                break;
            case UndoAction.ScratchFile file:
                Write(writer, "scratch-file", "path", file.Path);
                break;
            case UndoAction.TargetFile file:
                Write(writer, "target-file", "path", file.Path);
                break;
            case UndoAction.ServerObject item:
                Write(writer, "object", "id", item.Id);
                break;
            case UndoAction.CheckpointFile file:
                Write(writer, "checkpoint-file", "path", file.Path);
                break;
            case UndoAction.LocalDirectory directory:
                Write(writer, "directory", "path", directory.Path);
                break;
            default:
                throw new ArgumentException("an unknown undo action", nameof(action));
        }

        writer.WriteEndObject();
    }

    /// <summary>Reads one.</summary>
    /// <exception cref="FormatException">Its kind is not known.</exception>
    internal static UndoAction Read(JsonElement action) => Text(action, "kind") switch
    {
        "job" => new UndoAction.Job(Text(action, "id")),
        "export" => new UndoAction.Export(Text(action, "id")),
        "nbd-server" => new UndoAction.NbdServer(action.TryGetProperty("path", out _)
            ? NbdAddress.Unix(Text(action, "path"))
            : NbdAddress.Tcp(Text(action, "host"), action.GetProperty("port").GetInt32())),
        "node" => new UndoAction.Node(Text(action, "name")),
        "temporary-bitmap" => new UndoAction.TemporaryBitmap(Text(action, "node"), Text(action, "name")),
        "checkpoint-bitmap" => new UndoAction.CheckpointBitmap(Text(action, "node"), Text(action, "name")),
        "file" => new UndoAction.LocalFile(Text(action, "path")),
        "socket" => new UndoAction.ServerSocket(Text(action, "path")),
        "scratch-file" => new UndoAction.ScratchFile(Text(action, "path")),
        "target-file" => new UndoAction.TargetFile(Text(action, "path")),
        "object" => new UndoAction.ServerObject(Text(action, "id")),
        "checkpoint-file" => new UndoAction.CheckpointFile(Text(action, "path")),
        "directory" => new UndoAction.LocalDirectory(Text(action, "path")),
        var kind => throw new FormatException($"the undo action '{kind}' is not known"),
    };

    private static void Write(Utf8JsonWriter writer, string kind, string key, string value)
    {
        writer.WriteString("kind", kind);
        writer.WriteString(key, value);
    }

    private static string Text(JsonElement element, string name) =>
        element.GetProperty(name).GetString() ?? throw new FormatException($"'{name}' is null");
}
