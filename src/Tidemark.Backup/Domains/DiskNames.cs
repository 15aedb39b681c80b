using System.Buffers;
using System.Text.Json;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;

namespace Tidemark.Backup.Domains;

/// <summary>The names that a domain's disks were given, by what uses them; kept in the domain's folder.</summary>
internal static class DiskNames
{
    /// <summary>Reads them; none when nothing was kept.</summary>
    /// <exception cref="BackupException">The file is damaged.</exception>
    internal static Dictionary<string, string> Read(DomainFolder folder)
    {
        Dictionary<string, string> names = new(StringComparer.Ordinal);
        if (DurableFile.Read(folder.DisksPath) is not { } bytes)
        {
            return names;
        }

        try
        {
            using var document = JsonDocument.Parse(bytes);
            foreach (var property in document.RootElement.EnumerateObject())
            {
                names[property.Name] = property.Value.GetString() ?? throw new FormatException("a name is null");
            }

            return names;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or FormatException)
        {
            throw new BackupException(
                BackupErrorKind.State,
                $"'{folder.DisksPath}' is damaged ({exception.Message}); delete it, and name the disks as their nodes "
                    + "are called",
                exception);
        }
    }

    /// <summary>Adds the names of disks that are new; durable when it returns.</summary>
    internal static void Keep(DomainFolder folder, Dictionary<string, string> known, IReadOnlyList<AttachedDisk> disks)
    {
        var added = false;
        foreach (var disk in disks)
        {
            if (disk.RootKey is { } key && known.TryAdd(key, disk.Name))
            {
                added = true;
            }
        }

        if (added)
        {
            Write(folder, known);
        }
    }

    /// <summary>Adds or changes one name; durable when it returns.</summary>
    internal static void Keep(DomainFolder folder, Dictionary<string, string> known, string key, string name)
    {
        known[key] = name;
        Write(folder, known);
    }

    private static void Write(DomainFolder folder, Dictionary<string, string> known)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            writer.WriteStartObject();
            foreach (var (key, name) in known.OrderBy(pair => pair.Key, StringComparer.Ordinal))
            {
                writer.WriteString(key, name);
            }

            writer.WriteEndObject();
        }

        DurableFile.Write(folder.DisksPath, buffer.WrittenSpan);
    }
}
