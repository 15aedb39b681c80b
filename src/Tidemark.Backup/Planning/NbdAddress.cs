using System.Globalization;
using System.Text.Json.Nodes;

namespace Tidemark.Backup.Planning;

/// <summary>Where an NBD server listens: a unix socket's path, or a host and a port.</summary>
/// <param name="Path">The socket's path; null for TCP.</param>
/// <param name="Host">The host; null for a unix socket.</param>
/// <param name="Port">The port; zero for a unix socket.</param>
public sealed record NbdAddress(string? Path, string? Host, int Port)
{
    /// <summary>A unix socket.</summary>
    public static NbdAddress Unix(string path) => new(path, null, 0);

    /// <summary>A TCP port.</summary>
    public static NbdAddress Tcp(string host, int port) => new(null, host, port);

    /// <summary>The address as <c>nbd-server-start</c> takes it (QAPI <c>SocketAddressLegacy</c>).</summary>
    public JsonObject ToLegacyJson() => Path is not null
        ? new JsonObject { ["type"] = "unix", ["data"] = new JsonObject { ["path"] = Path } }
        : new JsonObject { ["type"] = "inet", ["data"] = new JsonObject { ["host"] = Host, ["port"] = PortText } };

    /// <summary>The address as <c>blockdev-add</c> takes it (QAPI <c>SocketAddress</c>).</summary>
    public JsonObject ToJson() => Path is not null
        ? new JsonObject { ["type"] = "unix", ["path"] = Path }
        : new JsonObject { ["type"] = "inet", ["host"] = Host, ["port"] = PortText };

    /// <inheritdoc/>
    public override string ToString() => Path ?? $"{Host}:{PortText}";

    private string PortText => Port.ToString(CultureInfo.InvariantCulture);
}
