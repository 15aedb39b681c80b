using System.Globalization;
using System.Text;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Nbd.Protocol;

/// <summary>The parameters of an NBD URI (doc/uri.md), each read once; whatever is not known is refused.</summary>
internal sealed class UriQuery
{
    private static readonly UTF8Encoding s_strictUtf8 = new(false, throwOnInvalidBytes: true);
    private static readonly string[] s_known =
        ["socket", "tls-certificates", "tls-hostname", "tls-psk-file", "tls-type", "tls-verify-peer"];

    private readonly string _uri;
    private readonly Dictionary<string, string> _values = new(StringComparer.Ordinal);

    internal UriQuery(string uri, string query)
    {
        _uri = uri;
        foreach (var parameter in query.Split('&', StringSplitOptions.RemoveEmptyEntries))
        {
            var equals = parameter.IndexOf('=', StringComparison.Ordinal);
            var key = Decode(uri, equals < 0 ? parameter : parameter[..equals]);
            if (!s_known.Contains(key))
            {
                throw NotSupported(
                    uri, $"the parameter '{key}' is not known; those that are: {string.Join(", ", s_known)}");
            }

            if (!_values.TryAdd(key, equals < 0 ? "" : Decode(uri, parameter[(equals + 1)..])))
            {
                throw Bad(uri, $"it has the parameter '{key}' twice");
            }
        }
    }

    internal string? Socket => _values.GetValueOrDefault("socket");

    internal string? Certificates => _values.GetValueOrDefault("tls-certificates");

    internal string? HostName => _values.GetValueOrDefault("tls-hostname");

    internal string? Keys => _values.GetValueOrDefault("tls-psk-file");

    internal bool HasTls => _values.Keys.Any(key => key.StartsWith("tls-", StringComparison.Ordinal));

    /// <summary>Whether the server's certificate is checked; the document's default is yes.</summary>
    internal bool VerifyPeer => _values.GetValueOrDefault("tls-verify-peer") switch
    {
        null or "1" => true,
        "0" => false,
        var other => throw Bad(_uri, $"tls-verify-peer is '{other}', not 0 or 1"),
    };

    internal void CheckTlsType()
    {
        var type = _values.GetValueOrDefault("tls-type");
        if (type is not (null or "x509" or "psk"))
        {
            throw type == "anon"
                ? NotSupported(_uri, "tls-type=anon is not supported: nobody would know who the server is")
                : Bad(_uri, $"tls-type is '{type}', not x509 or psk");
        }

        if (Keys is null ? type == "psk" : type == "x509" || Certificates is not null)
        {
            throw Bad(
                _uri,
                "it mixes certificates and shared keys: these need tls-psk-file=FILE, and no tls-certificates");
        }
    }

    /// <summary>Undoes percent-encoding; the bytes must be UTF-8 without NUL.</summary>
    internal static string Decode(string uri, string part)
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
                throw Bad(uri, "it has a NUL character; sockets in the abstract namespace are not supported");
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

    internal static NbdException Bad(string uri, string why) =>
        new(BlockErrorKind.Invalid, $"'{uri}' is not an NBD URI: {why}");

    internal static NbdException NotSupported(string uri, string why) =>
        new(BlockErrorKind.NotSupported, $"'{uri}': {why}");
}
