using System.Globalization;
using System.Text;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Nbd.Protocol;

/// <summary>
/// An NBD URI (doc/uri.md): <c>nbd://HOST[:PORT]/EXPORT</c>, <c>nbd+unix:///EXPORT?socket=PATH</c>. Percent-encoded
/// bytes are UTF-8. TLS (<c>nbds</c>, <c>nbds+unix</c>) and vsock are refused by name.
/// </summary>
/// <param name="EndPoint">Where the server listens.</param>
/// <param name="ExportName">The export; empty for the default one.</param>
public sealed record NbdUri(NbdEndPoint EndPoint, string ExportName)
{
    private static readonly UTF8Encoding s_strictUtf8 = new(false, throwOnInvalidBytes: true);

    /// <summary>Reads a URI.</summary>
    /// <exception cref="NbdException">It is none, or is of a kind that is not supported.</exception>
    public static NbdUri Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var colon = text.IndexOf("://", StringComparison.Ordinal);
        if (colon < 0)
        {
            throw Bad(text, "it has no '://'");
        }

        var scheme = text[..colon].ToLowerInvariant();
        var rest = text[(colon + 3)..];
        if (rest.Contains('#'))
        {
            throw Bad(text, "a fragment ('#…') has no meaning here");
        }

        var query = "";
        var mark = rest.IndexOf('?', StringComparison.Ordinal);
        if (mark >= 0)
        {
            (rest, query) = (rest[..mark], rest[(mark + 1)..]);
        }

        var slash = rest.IndexOf('/', StringComparison.Ordinal);
        var authority = slash < 0 ? rest : rest[..slash];
        var export = slash < 0 ? "" : Decode(text, rest[(slash + 1)..]);
        if (Encoding.UTF8.GetByteCount(export) > NbdLimits.MaximumStringLength)
        {
            throw Bad(text, $"the export's name is longer than {NbdLimits.MaximumStringLength} bytes");
        }

        var socket = SocketOf(text, query);
        return scheme switch
        {
            "nbd" when socket is not null => throw Bad(text, "'socket=' belongs to nbd+unix URIs"),
            "nbd" => new NbdUri(ParseAuthority(text, authority), export),
            "nbd+unix" when authority.Length > 0 => throw Bad(text, "a unix socket has no host: write nbd+unix:///"),
            "nbd+unix" when socket is null => throw Bad(text, "it names no socket: add ?socket=PATH"),
            "nbd+unix" => new NbdUri(NbdEndPoint.ForUnix(socket), export),
            "nbds" or "nbds+unix" => throw NotSupported(text, "TLS is not supported yet"),
            "nbd+vsock" or "nbds+vsock" => throw NotSupported(text, "vsock is not supported"),
            _ => throw Bad(text, "its scheme is not nbd or nbd+unix"),
        };
    }

    /// <summary>The URI, percent-encoded; <see cref="Parse"/> reads it back.</summary>
    public override string ToString() => EndPoint.IsUnix
        ? $"nbd+unix:///{Encode(ExportName)}?socket={Encode(EndPoint.SocketPath!)}"
        : $"nbd://{EndPoint}/{Encode(ExportName)}";

    // Slashes stay as they are, for people to read; everything else that is special is encoded.
    private static string Encode(string text) =>
        Uri.EscapeDataString(text).Replace("%2F", "/", StringComparison.Ordinal);

    private static NbdEndPoint ParseAuthority(string text, string authority)
    {
        if (authority.Contains('@'))
        {
            throw NotSupported(text, "a user name only serves TLS, which is not supported yet");
        }

        string host;
        var port = "";
        if (authority.StartsWith('['))
        {
            var close = authority.IndexOf(']', StringComparison.Ordinal);
            if (close < 0 || (close + 1 < authority.Length && authority[close + 1] != ':'))
            {
                throw Bad(text, "its IPv6 address is not closed by ']'");
            }

            host = authority[1..close];
            port = close + 1 < authority.Length ? authority[(close + 2)..] : "";
        }
        else
        {
            var colon = authority.LastIndexOf(':');
            host = Decode(text, colon < 0 ? authority : authority[..colon]);
            port = colon < 0 ? "" : authority[(colon + 1)..];
        }

        if (host.Length == 0)
        {
            host = "localhost";
        }

        if (port.Length == 0)
        {
            return NbdEndPoint.ForTcp(host);
        }

        return ushort.TryParse(port, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number > 0
            ? NbdEndPoint.ForTcp(host, number)
            : throw Bad(text, $"'{port}' is not a port");
    }

    private static string? SocketOf(string text, string query)
    {
        string? socket = null;
        foreach (var parameter in query.Split('&', StringSplitOptions.RemoveEmptyEntries))
        {
            var equals = parameter.IndexOf('=', StringComparison.Ordinal);
            var key = Decode(text, equals < 0 ? parameter : parameter[..equals]);
            if (key.StartsWith("tls-", StringComparison.Ordinal))
            {
                throw NotSupported(text, $"'{key}' asks for TLS, which is not supported yet");
            }

            // The document lets clients ignore parameters that they do not know.
            if (key == "socket")
            {
                if (socket is not null)
                {
                    throw Bad(text, "it names two sockets");
                }

                socket = equals < 0 ? "" : Decode(text, parameter[(equals + 1)..]);
            }
        }

        return socket;
    }

    private static string Decode(string uri, string part)
    {
        if (!part.Contains('%'))
        {
            return part;
        }

        var source = Encoding.UTF8.GetBytes(part);
        var target = new byte[source.Length];
        var count = 0;
        for (var index = 0; index < source.Length; index++)
        {
            if (source[index] != (byte)'%')
            {
                target[count++] = source[index];
                continue;
            }

            if (index + 2 >= source.Length
                || !byte.TryParse(source.AsSpan(
                    index + 1, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out target[count]))
            {
                throw Bad(uri, "a '%' is not followed by two hexadecimal digits");
            }

            if (target[count++] == 0)
            {
                throw Bad(uri, "it has a NUL character");
            }

            index += 2;
        }

        try
        {
            return s_strictUtf8.GetString(target, 0, count);
        }
        catch (ArgumentException)
        {
            throw Bad(uri, "its percent-encoded bytes are not UTF-8");
        }
    }

    private static NbdException Bad(string text, string why) =>
        new(BlockErrorKind.Invalid, $"'{text}' is not an NBD URI: {why}");

    private static NbdException NotSupported(string text, string why) =>
        new(BlockErrorKind.NotSupported, $"'{text}': {why}");
}
