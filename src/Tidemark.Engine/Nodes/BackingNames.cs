namespace Tidemark.Engine.Nodes;

/// <summary>Backing files as image headers name them.</summary>
internal static class BackingNames
{
    private const string FileProtocol = "file:";

    /// <summary>The path that a header means: relative to the folder of the image.</summary>
    /// <param name="name">What stands in the header.</param>
    /// <param name="imagePath">The image's own path, or null when it is in no file.</param>
    /// <returns>Null when it names no file, but a protocol or an option list.</returns>
    internal static string? Resolve(string name, string? imagePath)
    {
        if (name.StartsWith(FileProtocol, StringComparison.Ordinal)
            && !name.StartsWith("file://", StringComparison.Ordinal))
        {
            name = name[FileProtocol.Length..];
        }
        else if (HasProtocol(name))
        {
            return null;
        }

        if (Path.IsPathRooted(name))
        {
            return name;
        }

        var folder = imagePath is null ? null : Path.GetDirectoryName(imagePath);
        return imagePath is null ? null : Path.Combine(folder ?? "", name);
    }

    // QEMU: what has a colon before the first slash begins with a protocol.
    private static bool HasProtocol(string name)
    {
        var end = name.AsSpan().IndexOfAny(':', '/');
        return end >= 0 && name[end] == ':';
    }
}
