using System.Security.Cryptography.X509Certificates;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Tls;

/// <summary>A client's side of TLS: its mode, whose servers it trusts, and its own certificate if it has one.</summary>
/// <remarks>Immutable; one may serve many connections.</remarks>
public sealed class NbdClientTls
{
    private NbdClientTls(NbdTlsMode mode) => Mode = mode;

    /// <summary>Whether TLS is asked for, or insisted on.</summary>
    public NbdTlsMode Mode { get; }

    /// <summary>The name that the server's certificate must have; null for the end point's host, or <c>localhost</c> on
    /// a unix socket.</summary>
    public string? HostName { get; private init; }

    /// <summary>Whether the server's certificate is checked. Without, anybody may be the server.</summary>
    public bool VerifiesServer { get; private init; } = true;

    internal SslStreamCertificate? Certificate { get; private init; }

    internal X509Certificate2Collection? Authorities { get; private init; }

    /// <summary>Reads a folder of QEMU's layout: <c>ca-cert.pem</c>, and <c>client-cert.pem</c> with
    /// <c>client-key.pem</c> if the server wants to know who we are.</summary>
    /// <param name="folder">The folder; null to trust the system's authorities and show no certificate.</param>
    /// <param name="mode">Whether TLS is asked for, or insisted on.</param>
    /// <param name="hostName">The name that the server's certificate must have; null for the end point's.</param>
    /// <param name="verifyServer">Whether the server's certificate is checked.</param>
    /// <exception cref="NbdException">A file is not what its name says.</exception>
    public static NbdClientTls Load(
        string? folder, NbdTlsMode mode = NbdTlsMode.Require, string? hostName = null, bool verifyServer = true)
    {
        var files = folder is null ? null : new CertificateFolder(folder);
        return new NbdClientTls(mode)
        {
            HostName = hostName,
            VerifiesServer = verifyServer,
            Certificate = files?.Own("client"),
            Authorities = files?.Authorities(),
        };
    }

    /// <summary>What a URI says; null when it asks for no TLS.</summary>
    /// <exception cref="NbdException">A file of its folder is not what its name says.</exception>
    public static NbdClientTls? ForUri(NbdUri uri)
    {
        ArgumentNullException.ThrowIfNull(uri);
        return uri.Tls == NbdTlsMode.Disable
            ? null
            : Load(uri.TlsCertificates, uri.Tls, uri.TlsHostName, uri.TlsVerifyPeer);
    }
}
