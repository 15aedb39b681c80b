// Which disk is which. A definition of a checkpoint or a backup means a disk by its name, so a name that goes over to
// another image is the worst that can happen: the increment of one disk is put on the backup of another, and nothing
// tells, since a checkpoint's bitmap has the same name on every disk.
//
// What a disk was called is therefore kept by two things, and the image counts more than the place:
//
//   file:PATH          the active layer's file, as it was when the domain was last looked at
//   device:…, export:… what uses the disk. It stays when somebody else puts an overlay on top. But a device without an
//                      id is called by its number (/machine/peripheral-anon/device[1]), which is another device's as
//                      soon as the machine is started with one more in front; and disks can be exchanged
//
// Where the file is not known, the place's name is taken, unless the image that has a node of that very name in its
// chain is at another place. A new disk is called as its node is. No two disks get the same name.

using Tidemark.Backup.Graph;

namespace Tidemark.Backup.Domains;

/// <summary>Gives the disks of a domain their names.</summary>
internal static class DiskNaming
{
    /// <summary>The key under which the name of the disk with that active layer is kept.</summary>
    internal static string KeyOfFile(string path) => $"file:{path}";

    /// <summary>The names of the disks, in their order.</summary>
    /// <param name="disks">The disks.</param>
    /// <param name="kept">The names that were given before, by the keys of the head of this file.</param>
    internal static string[] Assign(IReadOnlyList<Unnamed> disks, IReadOnlyDictionary<string, string> kept)
    {
        var names = new string?[disks.Count];
        HashSet<string> taken = new(StringComparer.Ordinal);
        Round(index => ByFile(disks, kept, index));
        Round(index => kept.GetValueOrDefault(disks[index].Key) is { } name && !IsElsewhere(disks, index, name)
            ? name
            : null);

        // A name that the hypervisor made up changes at its next start: then the device's name is better.
        Round(index => disks[index].Node.HasMadeUpName ? null : disks[index].Node.Name);
        Round(index => disks[index].Fallback);
        Round(index => disks[index].Key);
        return [.. names.Select((name, index) => name ?? $"{disks[index].Key}#{index}")];

        void Round(Func<int, string?> find)
        {
            for (var index = 0; index < names.Length; index++)
            {
                if (names[index] is null && find(index) is { } name && taken.Add(name))
                {
                    names[index] = name;
                }
            }
        }
    }

    // What two disks have the file of, or claim by different files, says nothing.
    private static string? ByFile(
        IReadOnlyList<Unnamed> disks, IReadOnlyDictionary<string, string> kept, int index)
    {
        return NameOf(disks[index]) is { } name && disks.Count(disk => NameOf(disk) == name) == 1 ? name : null;

        string? NameOf(Unnamed disk) =>
            disk.Node.Filename.Length > 0 ? kept.GetValueOrDefault(KeyOfFile(disk.Node.Filename)) : null;
    }

    private static bool IsElsewhere(IReadOnlyList<Unnamed> disks, int index, string name) =>
        !disks[index].Layers.Contains(name)
        && disks.Where((_, other) => other != index).Any(other => other.Layers.Contains(name));

    /// <summary>A disk whose name is to be found.</summary>
    /// <param name="Key">What uses it.</param>
    /// <param name="Node">The active layer.</param>
    /// <param name="Layers">The names of the nodes of its chain.</param>
    /// <param name="Fallback">What it is called if its node has no name of its owner's.</param>
    internal sealed record Unnamed(string Key, GraphNode Node, IReadOnlyList<string> Layers, string Fallback);
}
