using Tidemark.Backup.Definitions;

namespace Tidemark.Cli.Sources;

/// <summary>Reads <c>--disk NAME[=NODE]</c>.</summary>
internal static class DiskOption
{
    /// <summary>Reads the option's value; without a node the disk is called as its node.</summary>
    /// <exception cref="UsageException">It has no name or no node, or the name can be no disk's.</exception>
    public static DiskSelection Parse(string text)
    {
        var equals = text.IndexOf('=');
        var name = equals < 0 ? text : text[..equals];
        var node = equals < 0 ? null : text[(equals + 1)..];
        if (name.Length == 0 || node is { Length: 0 })
        {
            throw new UsageException($"--disk '{text}' names no disk: write NAME or NAME=NODE");
        }

        return DiskName.Refuse(name) is { } why ? throw new UsageException(why) : new DiskSelection(name, node);
    }
}
