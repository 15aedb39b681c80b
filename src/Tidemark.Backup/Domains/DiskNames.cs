using System.Buffers;
using System.Text.Json;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;

namespace Tidemark.Backup.Domains;

/// <summary>The names that a domain's disks were given, by what uses them and by their files; kept in the domain's
/// folder. See <see cref="DiskNaming"/>.</summary>
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

    /// <summary>Keeps what the disks are called, and forgets where they are no more; durable when it
    /// returns.</summary>
    internal static void Keep(DomainFolder folder, Dictionary<string, string> known, IReadOnlyList<AttachedDisk> disks)
    {
        var before = known.ToDictionary(StringComparer.Ordinal);
        foreach (var disk in disks.Where(disk => disk.RootKey is not null))
        {
            if (AttachedDiskFinder.IsKeyOfUser(disk.RootKey!))
            {
                KeepPlace(known, disk, disks);
            }
            else
            {
                known.TryAdd(disk.RootKey!, disk.Name);
            }
        }

        if (known.Count != before.Count || known.Any(pair => before.GetValueOrDefault(pair.Key) != pair.Value))
        {
            Write(folder, known);
        }
    }

    /// <summary>Adds the name of a disk for another active layer; durable when it returns.</summary>
    internal static void Keep(
        DomainFolder folder, Dictionary<string, string> known, string name, string node, string file)
    {
        known[AttachedDiskFinder.KeyOfNode(node)] = name;
        known[DiskNaming.KeyOfFile(file)] = name;
        Write(folder, known);
    }

    // Each name at one place and one file, and a file that is two disks' tells nothing.
    private static void KeepPlace(
        Dictionary<string, string> known, AttachedDisk disk, IReadOnlyList<AttachedDisk> disks)
    {
        var file = disk.Node.Filename;
        var isOwn = file.Length > 0 && disks.Count(other => other.Node.Filename == file) == 1;
        var fileKey = DiskNaming.KeyOfFile(file);
        foreach (var key in known.Where(pair => pair.Value == disk.Name).Select(pair => pair.Key).ToList())
        {
            if (key.StartsWith(DiskNaming.KeyOfFile(""), StringComparison.Ordinal) ? key != fileKey || !isOwn
                : AttachedDiskFinder.IsKeyOfUser(key) && key != disk.RootKey)
            {
                known.Remove(key);
            }
        }

        known[disk.RootKey!] = disk.Name;
        if (isOwn)
        {
            known[fileKey] = disk.Name;
        }
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
