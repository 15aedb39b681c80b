using System.Globalization;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Images.Naming;

/// <summary>
/// What an image is called, read as QEMU reads it: a path, <c>file:PATH</c>, an NBD URI, <c>nbd:HOST:PORT</c> or
/// <c>nbd:unix:PATH</c> (both with <c>:exportname=NAME</c>), or <c>json:{…}</c>. A colon before the first slash makes
/// a protocol: a file with such a name is written <c>./a:b</c>.
/// </summary>
internal static class ImageName
{
    private const string JsonPrefix = "json:";

    /// <summary>Whether the name is a JSON description.</summary>
    internal static bool IsJson(string name) => name.StartsWith(JsonPrefix, StringComparison.Ordinal);

    /// <summary>The options of a <c>json:</c> name.</summary>
    internal static ImageOptions ReadJson(string name) => ImageOptions.Parse(name, name[JsonPrefix.Length..]);

    /// <summary>Whether a name begins with a protocol.</summary>
    internal static bool HasProtocol(string name)
    {
        var colon = name.IndexOf(':', StringComparison.Ordinal);
        return colon > 0 && name.AsSpan(0, colon).IndexOf('/') < 0;
    }

    /// <summary>Where the bytes of an image are, by a name that is no <c>json:</c> one.</summary>
    /// <exception cref="ImageException">The protocol is not supported, or the name is empty.</exception>
    internal static ImagePlace ReadPlace(string name)
    {
        if (name.Length == 0)
        {
            throw ImageException.Invalid("an image's name must not be empty");
        }

        if (!HasProtocol(name))
        {
            return new ImagePlace(name, null, "");
        }

        var protocol = name[..name.IndexOf(':', StringComparison.Ordinal)];
        switch (protocol)
        {
            case "file":
                return new ImagePlace(name["file:".Length..], null, "");
            case "nbd" or "nbds" or "nbd+tcp" or "nbd+unix" or "nbds+unix" or "nbd+vsock" or "nbds+vsock":
                return name.Contains("://", StringComparison.Ordinal) ? ReadUri(name, protocol) : ReadOldNbd(name);
            default:
                throw ImageException.NotSupported(
                    $"Unknown protocol '{protocol}' in '{name}': a path, 'file:', 'nbd:', an NBD URI and 'json:' are "
                    + $"supported; write './{name}' if it is a file");
        }
    }

    /// <summary>The name of a backing or data file as it stands in an image, as the name to open.</summary>
    /// <param name="imageName">The image in which it stands, for messages.</param>
    /// <param name="imagePath">That image's path; null when it is no file.</param>
    /// <param name="name">The name.</param>
    /// <exception cref="ImageException">A relative name in an image that has no directory.</exception>
    internal static string Resolve(string imageName, string? imagePath, string name)
    {
        if (HasProtocol(name) || Path.IsPathRooted(name))
        {
            return name;
        }

        if (imagePath is null)
        {
            throw ImageException.NotSupported(
                $"'{imageName}' names '{name}', relative to its directory, but it is no file and has none");
        }

        // A combined name could look like a protocol where neither part did.
        var combined = imagePath[..(imagePath.LastIndexOf('/') + 1)] + name;
        return HasProtocol(combined) ? $"./{combined}" : combined;
    }

    private static ImagePlace ReadUri(string name, string protocol)
    {
        // QEMU's second name of plain TCP.
        var uri = NbdUri.Parse(protocol == "nbd+tcp" ? $"nbd{name["nbd+tcp".Length..]}" : name);
        return new ImagePlace(null, uri.EndPoint, uri.ExportName);
    }

    private static ImagePlace ReadOldNbd(string name)
    {
        const string ExportMark = ":exportname=";
        var rest = name["nbd:".Length..];
        var mark = rest.IndexOf(ExportMark, StringComparison.Ordinal);
        var export = mark < 0 ? "" : rest[(mark + ExportMark.Length)..];
        rest = mark < 0 ? rest : rest[..mark];
        if (rest.StartsWith("unix:", StringComparison.Ordinal))
        {
            return new ImagePlace(null, NbdEndPoint.ForUnix(rest["unix:".Length..]), export);
        }

        var colon = rest.LastIndexOf(':');
        if (colon <= 0 || !ushort.TryParse(
            rest.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out var port) || port == 0)
        {
            throw ImageException.Invalid($"'{name}' is not nbd:HOST:PORT or nbd:unix:PATH");
        }

        return new ImagePlace(null, NbdEndPoint.ForTcp(rest[..colon].Trim('[', ']'), port), export);
    }
}
