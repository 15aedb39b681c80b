namespace Tidemark.Images.Output;

/// <summary>
/// An object of a report: names and values that are a text, a number, a bool, another object or a list. It is written
/// in the order in which QEMU writes it, which is that of its hash table: scripts that read lines see the same lines.
/// </summary>
public sealed class OutputDict
{
    // QEMU's qdict has this many buckets, and puts the newest first in each.
    private const int BucketCount = 512;

    private readonly List<(string Name, object Value)> _members = [];

    /// <summary>Adds a member; a null value is left out, as QEMU leaves out what an optional member lacks.</summary>
    public OutputDict Add(string name, object? value)
    {
        if (value is not null)
        {
            _members.Add((name, value));
        }

        return this;
    }

    /// <summary>The members in the order of QEMU's output.</summary>
    internal IEnumerable<(string Name, object Value)> Ordered() => _members
        .Select((member, index) => (member, index))
        .OrderBy(pair => Hash(pair.member.Name) % BucketCount)
        .ThenByDescending(pair => pair.index)
        .Select(pair => pair.member);

    // The hash of Samba's small database, by which QEMU orders its dictionaries. Names are ASCII.
    private static uint Hash(string name)
    {
        unchecked
        {
            var value = 0x238F13AFu * (uint)name.Length;
            for (var index = 0; index < name.Length; index++)
            {
                value += (uint)name[index] << (index * 5 % 24);
            }

            return (1103515243u * value) + 12345u;
        }
    }
}
