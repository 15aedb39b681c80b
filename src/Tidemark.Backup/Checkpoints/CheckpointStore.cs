// The definitions of a domain's checkpoints on disk:
//
//   NAME.xml      the definition, libvirt's format; durable before it has this name
//   NAME.xml.new  one whose checkpoint is being made: no checkpoint yet
//   current       the current checkpoint's name, and its parent's
//   names         every name that a checkpoint of this domain ever had: what tells a bitmap that was left behind from
//                 one that another tool made
//
// The bitmaps lie in the images. Neither is believed without the other: see CheckpointReview.

using System.Text;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Xml;

namespace Tidemark.Backup.Checkpoints;

/// <summary>Keeps a domain's checkpoint definitions. Its domain's lock must be held while it changes
/// something.</summary>
internal sealed class CheckpointStore
{
    /// <summary>The most checkpoints of one domain.</summary>
    internal const int MaximumCheckpoints = 10_000;

    private const string Extension = ".xml";

    private readonly string _folder;

    internal CheckpointStore(string folder) => _folder = folder;

    private string CurrentPath => Path.Combine(_folder, "current");

    private string NamesPath => Path.Combine(_folder, "names");

    /// <summary>Where a checkpoint's definition lies.</summary>
    internal string PathOf(string name) => CheckpointDefinition.IsName(name)
        ? Path.Combine(_folder, name + Extension)
        : throw new BackupException(BackupErrorKind.Request, CheckpointDefinition.DescribeRefusal(name));

    /// <summary>Where it lies until its checkpoint is made.</summary>
    internal string PreparedPathOf(string name) => PathOf(name) + DurableFile.PartialSuffix;

    /// <summary>Reads all definitions.</summary>
    /// <exception cref="BackupException">One is damaged; the message names its file.</exception>
    internal CheckpointTree Load()
    {
        if (!Directory.Exists(_folder))
        {
            return new CheckpointTree([], null);
        }

        List<CheckpointDefinition> definitions = [];
        foreach (var path in Directory.EnumerateFiles(_folder, "*" + Extension))
        {
            if (definitions.Count == MaximumCheckpoints)
            {
                throw new BackupException(
                    BackupErrorKind.State,
                    $"'{_folder}' holds more than {MaximumCheckpoints} definitions; delete checkpoints that nobody "
                        + "needs");
            }

            definitions.Add(ReadDefinition(path, Path.GetFileNameWithoutExtension(path)));
        }

        return new CheckpointTree(definitions, ReadCurrent(definitions));
    }

    /// <summary>Every name that a checkpoint of this domain ever had.</summary>
    internal IReadOnlySet<string> EveryName() => DurableFile.Read(NamesPath) is { } bytes
        ? Encoding.UTF8.GetString(bytes).Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .ToHashSet(StringComparer.Ordinal)
        : new HashSet<string>(StringComparer.Ordinal);

    /// <summary>Writes all that a new checkpoint needs, so that only <see cref="Commit"/> is left to do.</summary>
    /// <exception cref="BackupException">It cannot be written; nothing was done yet.</exception>
    internal void Prepare(CheckpointDefinition definition)
    {
        DurableFile.Prepare(PathOf(definition.Name!), Bytes(definition));
        RememberName(definition.Name!);
    }

    /// <summary>Makes a prepared definition a checkpoint, and the current one.</summary>
    internal void Commit(CheckpointDefinition definition)
    {
        DurableFile.Commit(PathOf(definition.Name!));
        WriteCurrent(definition.Name, definition.Parent);
    }

    /// <summary>The same for one that another command prepared; again, if it was killed in between.</summary>
    /// <exception cref="BackupException">Its definition is gone or damaged.</exception>
    internal void CommitPrepared(string name)
    {
        var path = PathOf(name);
        if (File.Exists(path))
        {
            var definition = ReadDefinition(path, name);
            WriteCurrent(name, definition.Parent);
            return;
        }

        Commit(ReadDefinition(PreparedPathOf(name), name));
    }

    /// <summary>Writes a definition, new or instead of the one of that name; it becomes the current one if its parent
    /// is, or if there is none.</summary>
    internal void Redefine(CheckpointDefinition definition)
    {
        var tree = Load();
        DurableFile.Write(PathOf(definition.Name!), Bytes(definition));
        RememberName(definition.Name!);
        if (tree.Find(definition.Name!) is null && (tree.Current is null || tree.Current == definition.Parent))
        {
            WriteCurrent(definition.Name, definition.Parent);
        }
    }

    /// <summary>Deletes a definition; its children follow its parent from now on.</summary>
    internal void Delete(string name)
    {
        var tree = Load();
        if (tree.Find(name) is not { } definition)
        {
            return;
        }

        var parent = tree.ParentOf(definition)?.Name;
        foreach (var child in tree.ChildrenOf(name))
        {
            DurableFile.Write(PathOf(child.Name!), Bytes(child with { Parent = parent }));
        }

        if (tree.Current == name)
        {
            WriteCurrent(parent, parent is null ? null : tree.Get(parent).Parent);
        }

        try
        {
            File.Delete(PathOf(name));
            StateDirectory.FlushDirectory(_folder);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BackupException(
                BackupErrorKind.State, $"could not delete '{PathOf(name)}': {exception.Message}", exception);
        }
    }

    private static byte[] Bytes(CheckpointDefinition definition) =>
        Encoding.UTF8.GetBytes(CheckpointXml.Format(definition));

    private static CheckpointDefinition ReadDefinition(string path, string name)
    {
        try
        {
            var definition = CheckpointXml.Parse(Encoding.UTF8.GetString(DurableFile.Read(path) ?? []));
            return definition.Name == name
                ? definition
                : throw new BackupException(BackupErrorKind.State, $"it defines '{definition.Name}'");
        }
        catch (BackupException exception)
        {
            throw new BackupException(
                BackupErrorKind.State,
                $"the definition '{path}' is damaged: {exception.Message}. Mend it, or move it away and redefine the "
                    + "checkpoint",
                exception);
        }
    }

    // The current one may have been taken back by a run that failed: then its parent is the current one again. Without
    // the file it is the only leaf, or the youngest one.
    private string? ReadCurrent(List<CheckpointDefinition> definitions)
    {
        if (DurableFile.Read(CurrentPath) is { } bytes)
        {
            foreach (var name in Encoding.UTF8.GetString(bytes).Split('\n'))
            {
                if (name.Length > 0 && definitions.Exists(one => one.Name == name))
                {
                    return name;
                }
            }
        }

        return definitions.Where(one => !definitions.Exists(child => child.Parent == one.Name))
            .OrderBy(one => one.CreationTime).ThenBy(one => one.Name, StringComparer.Ordinal).LastOrDefault()?.Name;
    }

    private void WriteCurrent(string? name, string? parent) =>
        DurableFile.Write(CurrentPath, Encoding.UTF8.GetBytes($"{name}\n{parent}\n"));

    private void RememberName(string name)
    {
        var names = EveryName();
        if (!names.Contains(name))
        {
            DurableFile.Write(
                NamesPath,
                Encoding.UTF8.GetBytes(string.Concat(
                    names.Append(name).Order(StringComparer.Ordinal).Select(one => one + "\n"))));
        }
    }
}
