namespace Tidemark.Cli.Sources;

/// <summary>One <c>--disk NAME[=NODE]</c>: how the disk is called in the restore point, and which node it is.</summary>
/// <param name="Name">The name in the repository; it becomes a file name there.</param>
/// <param name="Node">The node at the hypervisor.</param>
internal sealed record DiskChoice(string Name, string Node)
{
    /// <summary>Reads the option's value.</summary>
    /// <exception cref="UsageException">It has no name, or the name can be no file name.</exception>
    public static DiskChoice Parse(string text)
    {
        var equals = text.IndexOf('=');
        var name = equals < 0 ? text : text[..equals];
        var node = equals < 0 ? text : text[(equals + 1)..];
        if (name.Length == 0 || node.Length == 0)
        {
            throw new UsageException($"'{text}' is no disk: write NAME or NAME=NODE");
        }

        return name is "." or ".." || name.Contains('/') || name.Contains(':') || name.Any(char.IsControl)
            ? throw new UsageException($"'{name}' can be no disk's name: no '/', no ':', no control characters")
            : new DiskChoice(name, node);
    }
}
