using System.Buffers;
using System.Text.Json;
using Tidemark.Repository.Snapshots;

namespace Tidemark.Repository.Locks;

/// <summary>What a lock file says (restic, doc/design.rst, "Locks").</summary>
internal sealed record LockContent(
    DateTimeOffset Time, bool Exclusive, string HostName, string UserName, int ProcessId)
{
    /// <summary>After this time a lock counts for nothing, as in restic.</summary>
    internal static readonly TimeSpan StaleAfter = TimeSpan.FromMinutes(30);

    /// <summary>Whether its holder is gone: it is too old, or of this machine and its process is dead.</summary>
    internal bool IsStale(DateTimeOffset now, string hostName) =>
        now - Time > StaleAfter || (HostName == hostName && LinuxProcess.IsDead(ProcessId));

    internal ReadOnlyMemory<byte> Encode()
    {
        var buffer = new ArrayBufferWriter<byte>();
        using var writer = new Utf8JsonWriter(buffer);
        writer.WriteStartObject();
        writer.WriteString("time", GoTime.Format(Time));
        writer.WriteBoolean("exclusive", Exclusive);
        writer.WriteString("hostname", HostName);
        writer.WriteString("username", UserName);
        writer.WriteNumber("pid", ProcessId);
        writer.WriteNumber("uid", LinuxProcess.UserId);
        writer.WriteNumber("gid", LinuxProcess.GroupId);
        writer.WriteEndObject();
        writer.Flush();
        return buffer.WrittenMemory;
    }

    internal static LockContent Decode(ReadOnlyMemory<byte> json, string where)
    {
        try
        {
            using var document = JsonDocument.Parse(json);
            var root = document.RootElement;
            return new LockContent(
                GoTime.TryParse(root.GetProperty("time").GetString(), out var time)
                    ? time
                    : throw new FormatException("it has no readable time"),
                root.GetProperty("exclusive").GetBoolean(),
                root.GetProperty("hostname").GetString() ?? "",
                root.GetProperty("username").GetString() ?? "",
                root.GetProperty("pid").GetInt32());
        }
        catch (Exception exception)
            when (exception is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged,
                $"{where} is damaged ({exception.Message}); if nothing uses the repository, run: restic unlock "
                + "--remove-all",
                exception);
        }
    }
}
