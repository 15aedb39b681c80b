// The journal of a run: one JSON object a line, each line durable before the effect that it announces.
//
//   {"journal":1,"run":"…","vm":"…","source":"…"}      first
//   {"undo":[{"kind":"node","name":"…"}, …]}           before a step: what takes the step back
//   {"undo":[…],"freezes":"TIME"}                      the same, before the transaction that is the instant
//   {"made":{"path":"…","device":…,"inode":…,"born":…}}  after a file was made: which one it is
//   {"done":"nbd-server"}                              after the hypervisor's NBD server was started for certain
//   {"committed":"SNAPSHOT","superseded":[…]}          when the restore point is durable: its checkpoint stays, and the
//                                                      older one's bitmaps are to be removed
//
// A domain's backup goes on when the command that began it has ended, so its journal stays, with these lines:
//
//   {"job":{…}}                                        before the transaction: what later commands must know of it
//   {"begun":"TIME"}                                   it runs, and only its end takes anything back
//   {"failed":true}                                    its begin has failed and takes everything back
//   {"ended":{"result":"…","error":…}}                 how it ended, before anything is taken back
//
// A run that ended well removes its journal. A line cut short by a crash was never acted upon, so it is dropped.

using System.Buffers;
using System.Text;
using System.Text.Json;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Planning;

namespace Tidemark.Backup.Journal;

/// <summary>Writes and reads the lines of a journal.</summary>
internal static class JournalFormat
{
    /// <summary>The longest journal that is read.</summary>
    internal const int MaximumLength = 16 << 20;

    /// <summary>What <c>done</c> says of the NBD server.</summary>
    internal const string NbdServerDone = "nbd-server";

    private const int Version = 1;

    internal static byte[] Header(string runId, string vmName, string source) => Line(writer =>
    {
        writer.WriteNumber("journal", Version);
        writer.WriteString("run", runId);
        writer.WriteString("vm", vmName);
        writer.WriteString("source", source);
    });

    internal static byte[] Undo(IReadOnlyList<UndoAction> actions) =>
        Line(writer => WriteActions(writer, "undo", actions));

    internal static byte[] Freezing(IReadOnlyList<UndoAction> actions, DateTimeOffset at) => Line(writer =>
    {
        WriteActions(writer, "undo", actions);
        writer.WriteString("freezes", JobFormat.Time(at));
    });

    internal static byte[] Made(string path, FileIdentity identity) => Line(writer =>
    {
        writer.WriteStartObject("made");
        writer.WriteString("path", path);
        writer.WriteNumber("device", identity.Device);
        writer.WriteNumber("inode", identity.Inode);
        writer.WriteNumber("born", identity.Born);
        writer.WriteEndObject();
    });

    internal static byte[] Done(string what) => Line(writer => writer.WriteString("done", what));

    internal static byte[] Committed(string snapshotId, IReadOnlyList<UndoAction> superseded) => Line(writer =>
    {
        writer.WriteString("committed", snapshotId);
        WriteActions(writer, "superseded", superseded);
    });

    internal static byte[] Job(JournalJob job) => Line(writer =>
    {
        writer.WriteStartObject("job");
        JobFormat.Write(writer, job);
        writer.WriteEndObject();
    });

    internal static byte[] Begun(DateTimeOffset at) =>
        Line(writer => writer.WriteString("begun", JobFormat.Time(at)));

    internal static byte[] Failed() => Line(writer => writer.WriteBoolean("failed", true));

    internal static byte[] Ended(JobEnd end) => Line(writer =>
    {
        writer.WriteStartObject("ended");
        JobFormat.Write(writer, end);
        writer.WriteEndObject();
    });

    /// <summary>Reads a journal.</summary>
    /// <exception cref="BackupException">It is damaged, or of a newer version.</exception>
    internal static JournalRecord? Parse(ReadOnlySpan<byte> bytes, string path)
    {
        JournalRecord? record = null;
        List<UndoAction> undo = [];
        while (bytes.IndexOf((byte)'\n') is var end and >= 0)
        {
            var line = bytes[..end];
            bytes = bytes[(end + 1)..];
            try
            {
                using var document = JsonDocument.Parse(line.ToArray());
                record = Apply(document.RootElement, record, undo);
            }
            catch (Exception exception) when (exception is JsonException or KeyNotFoundException
                or InvalidOperationException
                or FormatException)
            {
                throw new BackupException(
                    BackupErrorKind.State,
                    $"the journal '{path}' is damaged at "
                        + $"'{Encoding.UTF8.GetString(line[..Math.Min(line.Length, 80)])}' "
                    + $"({exception.Message}). Remove what the run left at the hypervisor by hand, then delete the "
                    + "file",
                    exception);
            }
        }

        return record is null ? null : record with { Undo = undo };
    }

    private static JournalRecord Apply(JsonElement line, JournalRecord? record, List<UndoAction> undo)
    {
        if (record is null)
        {
            var version = line.GetProperty("journal").GetInt32();
            return version == Version
                ? new JournalRecord
                {
                    RunId = Text(line, "run"),
                    VmName = Text(line, "vm"),
                    Source = Text(line, "source"),
                }
                : throw new FormatException($"version {version} is not known");
        }

        if (line.TryGetProperty("undo", out var actions))
        {
            undo.AddRange(actions.EnumerateArray().Select(JournalActions.Read));
            return line.TryGetProperty("freezes", out var at)
                ? record with { Freezing = JobFormat.ReadTime(at.GetString() ?? "") }
                : record;
        }
        else if (line.TryGetProperty("made", out var made))
        {
            Identify(
                undo,
                Text(made, "path"),
                new FileIdentity(
                    made.GetProperty("device").GetUInt64(),
                    made.GetProperty("inode").GetUInt64(),
                    made.GetProperty("born").GetInt64()));
        }
        else if (line.TryGetProperty("done", out var done))
        {
            return record with { ServerStarted = record.ServerStarted || done.GetString() == NbdServerDone };
        }
        else if (line.TryGetProperty("committed", out var committed))
        {
            undo.AddRange(line.GetProperty("superseded").EnumerateArray().Select(JournalActions.Read));
            return record with { Committed = committed.GetString() };
        }
        else if (line.TryGetProperty("job", out var job))
        {
            return record with { Job = JobFormat.ReadJob(job) };
        }
        else if (line.TryGetProperty("begun", out var begun))
        {
            return record with { Begun = JobFormat.ReadTime(begun.GetString() ?? "") };
        }
        else if (line.TryGetProperty("failed", out _))
        {
            return record with { HasFailed = true };
        }
        else if (line.TryGetProperty("ended", out var ended))
        {
            return record with { Ended = JobFormat.ReadEnd(ended) };
        }

        return record;
    }

    private static void WriteActions(Utf8JsonWriter writer, string name, IReadOnlyList<UndoAction> actions)
    {
        writer.WriteStartArray(name);
        foreach (var action in actions)
        {
            JournalActions.Write(writer, action);
        }

        writer.WriteEndArray();
    }

    /// <summary>Writes down in a list of undo actions which file a name is.</summary>
    internal static void Identify(List<UndoAction> undo, string path, FileIdentity identity)
    {
        for (var index = 0; index < undo.Count; index++)
        {
            undo[index] = undo[index] switch
            {
                UndoAction.ScratchFile { Identity: null } file when file.Path == path =>
                    file with { Identity = identity },
                UndoAction.TargetFile { Identity: null } file when file.Path == path =>
                    file with { Identity = identity },
                var other => other,
            };
        }
    }

    private static string Text(JsonElement element, string name) =>
        element.GetProperty(name).GetString() ?? throw new FormatException($"'{name}' is null");

    private static byte[] Line(Action<Utf8JsonWriter> write)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            write(writer);
            writer.WriteEndObject();
        }

        buffer.Write("\n"u8);
        return buffer.WrittenSpan.ToArray();
    }
}
