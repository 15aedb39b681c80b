using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Tidemark.Nbd.Protocol;

/// <summary>
/// An NBD URI (doc/uri.md): <c>nbd://HOST[:PORT]/EXPORT</c>, <c>nbd+unix:///EXPORT?socket=PATH</c>, and <c>nbds</c>,
/// <c>nbds+unix</c> for the same over TLS, with <c>tls-certificates=FOLDER</c> (QEMU's layout),
/// <c>tls-hostname=NAME</c>, <c>tls-verify-peer=0</c>, or with <c>USER@</c> before the host and
/// <c>tls-psk-file=FILE</c>. Percent-encoded bytes are UTF-8. Any other parameter and vsock are refused by name.
/// </summary>
/// <param name="EndPoint">Where the server listens.</param>
/// <param name="ExportName">The export; empty for the default one.</param>
public sealed record NbdUri(NbdEndPoint EndPoint, string ExportName)
{
    /// <summary>Require for <c>nbds</c>; allow for <c>nbd</c> with a <c>tls-</c> parameter; else disable.</summary>
    public NbdTlsMode Tls { get; init; }

    /// <summary>The folder with <c>ca-cert.pem</c> and perhaps <c>client-cert.pem</c>, <c>client-key.pem</c>; null for
    /// the system's authorities.</summary>
    public string? TlsCertificates { get; init; }

    /// <summary>The name that the server's certificate must have; null for the end point's host.</summary>
    public string? TlsHostName { get; init; }

    /// <summary>The file of shared keys (<c>USER:KEY</c> a line); null for certificates.</summary>
    public string? TlsKeys { get; init; }

    /// <summary>Whose shared key is used; null for the name of the user who runs this process.</summary>
    public string? TlsUser { get; init; }

    /// <summary>Whether the server's certificate is checked. The default is yes.</summary>
    public bool TlsVerifyPeer { get; init; } = true;

    /// <summary>Reads a URI.</summary>
    /// <exception cref="NbdException">It is none, or is of a kind that is not supported.</exception>
    public static NbdUri Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var colon = text.IndexOf("://", StringComparison.Ordinal);
        if (colon < 0)
        {
            throw UriQuery.Bad(text, "it has no '://'");
        }

        if (text.Contains('\0'))
        {
            throw UriQuery.Bad(text, "it has a NUL character");
        }

        var scheme = text[..colon].ToLowerInvariant();
        var rest = text[(colon + 3)..];
        if (rest.Contains('#'))
        {
            throw UriQuery.Bad(text, "a fragment ('#…') has no meaning here");
        }

        CheckScheme(text, scheme);
        var mark = rest.IndexOf('?', StringComparison.Ordinal);
        var query = new UriQuery(text, mark < 0 ? "" : rest[(mark + 1)..]);
        rest = mark < 0 ? rest : rest[..mark];
        var slash = rest.IndexOf('/', StringComparison.Ordinal);
        var authority = slash < 0 ? rest : rest[..slash];
        var export = slash < 0 ? "" : UriQuery.Decode(text, rest[(slash + 1)..]);
        if (Encoding.UTF8.GetByteCount(export) > NbdLimits.MaximumStringLength)
        {
            throw UriQuery.Bad(text, $"the export's name is longer than {NbdLimits.MaximumStringLength} bytes");
        }

        query.CheckTlsType();
        var (user, host) = Split(text, authority, query);
        var isSecure = scheme.StartsWith("nbds", StringComparison.Ordinal);
        return new NbdUri(EndPointOf(text, scheme, host, query.Socket), export)
        {
            Tls = isSecure ? NbdTlsMode.Require : query.HasTls ? NbdTlsMode.Allow : NbdTlsMode.Disable,
            TlsCertificates = query.Certificates,
            TlsHostName = query.HostName,
            TlsKeys = query.Keys,
            TlsUser = user,
            TlsVerifyPeer = query.VerifyPeer,
        };
    }

    /// <summary>The URI, percent-encoded; <see cref="Parse"/> reads it back.</summary>
    public override string ToString()
    {
        var text = new StringBuilder(Tls == NbdTlsMode.Require ? "nbds" : "nbd");
        var user = TlsUser is null ? "" : Uri.EscapeDataString(TlsUser) + "@";
        text.Append(EndPoint.IsUnix ? $"+unix://{user}/" : $"://{user}{EndPoint}/").Append(Encode(ExportName));
        var separator = '?';
        void Add(string key, string? value)
        {
            if (value is not null)
            {
                text.Append(separator).Append(key).Append('=').Append(Encode(value));
                separator = '&';
            }
        }

        Add("socket", EndPoint.SocketPath);
        Add("tls-certificates", TlsCertificates);
        Add("tls-hostname", TlsHostName);
        Add("tls-psk-file", TlsKeys);
        Add("tls-verify-peer", TlsVerifyPeer ? null : "0");
        if (Tls == NbdTlsMode.Allow && (TlsCertificates ?? TlsHostName ?? TlsKeys) is null && TlsVerifyPeer)
        {
            Add("tls-type", "x509");
        }

        return text.ToString();
    }

    // Slashes stay as they are, for people to read; everything else that is special is encoded.
    private static string Encode(string text) =>
        Uri.EscapeDataString(text).Replace("%2F", "/", StringComparison.Ordinal);

    private static void CheckScheme(string text, string scheme)
    {
        if (scheme is "nbd" or "nbds" or "nbd+unix" or "nbds+unix")
        {
            return;
        }

        throw scheme is "nbd+vsock" or "nbds+vsock" or "nbd+ssh" or "nbds+ssh"
            ? UriQuery.NotSupported(text, $"the scheme {scheme} is not supported")
            : UriQuery.Bad(text, "its scheme is not nbd, nbds, nbd+unix or nbds+unix");
    }

    private static NbdEndPoint EndPointOf(string text, string scheme, string authority, string? socket)
    {
        if (!scheme.EndsWith("+unix", StringComparison.Ordinal))
        {
            return socket is null
                ? ParseAuthority(text, authority)
                : throw UriQuery.Bad(text, "'socket=' belongs to nbd+unix and nbds+unix URIs");
        }

        if (authority.Length > 0)
        {
            throw UriQuery.Bad(text, $"a unix socket has no host: write {scheme}:///");
        }

        return NbdEndPoint.ForUnix(
            socket ?? throw UriQuery.Bad(text, "it names no socket: add ?socket=PATH"));
    }

    private static (string? User, string Host) Split(string text, string authority, UriQuery query)
    {
        var at = authority.LastIndexOf('@');
        return at < 0 ? (null, authority)
            : query.Keys is null
                ? throw UriQuery.Bad(text, "a user name only serves TLS with shared keys: add tls-psk-file=FILE")
            : authority[..at] is var user && !user.Contains(':') && user.Length > 0
                ? (UriQuery.Decode(text, user), authority[(at + 1)..])
            : throw UriQuery.Bad(text, "its user name is empty, or has a password behind it");
    }

    private static NbdEndPoint ParseAuthority(string text, string authority)
    {
        string host;
        var port = "";
        if (authority.StartsWith('['))
        {
            var close = authority.IndexOf(']', StringComparison.Ordinal);
            if (close < 0 || (close + 1 < authority.Length && authority[close + 1] != ':'))
            {
                throw UriQuery.Bad(text, "its IPv6 address is not closed by ']'");
            }

            host = authority[1..close];
            if (!IPAddress.TryParse(host, out var address) || address.AddressFamily != AddressFamily.InterNetworkV6)
            {
                throw UriQuery.Bad(text, $"'{host}' is not an IPv6 address");
            }

            port = close + 1 < authority.Length ? authority[(close + 2)..] : "";
        }
        else
        {
            var colon = authority.LastIndexOf(':');
            host = UriQuery.Decode(text, colon < 0 ? authority : authority[..colon]);
            port = colon < 0 ? "" : authority[(colon + 1)..];
            if (host.Any(letter => letter <= ' ' || "[]:/?#@%".Contains(letter)))
            {
                throw UriQuery.Bad(text, $"'{host}' is not the name of a host");
            }
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
            : throw UriQuery.Bad(text, $"'{port}' is not a port");
    }
}
