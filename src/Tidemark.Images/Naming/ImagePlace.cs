using Tidemark.Nbd.Protocol;

namespace Tidemark.Images.Naming;

/// <summary>Where the bytes of an image are: a file of the host, or an export of an NBD server.</summary>
/// <param name="Path">The file's path as it was given; null for an export.</param>
/// <param name="EndPoint">The server; null for a file.</param>
/// <param name="ExportName">The export.</param>
internal sealed record ImagePlace(string? Path, NbdEndPoint? EndPoint, string ExportName)
{
    /// <summary>What QEMU calls the place.</summary>
    internal string DisplayName => true switch
    {
        _ when Path is not null => Path,
        _ when EndPoint!.SocketPath is { } socket =>
            ExportName.Length == 0 ? $"nbd+unix://?socket={socket}" : $"nbd+unix:///{ExportName}?socket={socket}",
        _ => ExportName.Length == 0 ? $"nbd://{EndPoint}" : $"nbd://{EndPoint}/{ExportName}",
    };

    /// <summary>The same for two names of one file.</summary>
    internal string Identity
    {
        get
        {
            if (Path is null)
            {
                return DisplayName;
            }

            var full = System.IO.Path.GetFullPath(Path);
            try
            {
                return File.ResolveLinkTarget(full, returnFinalTarget: true)?.FullName ?? full;
            }
            catch (IOException)
            {
                // It does not exist or links run in a circle: to open it will say so.
                return full;
            }
        }
    }
}
