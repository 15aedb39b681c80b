using System.Security.Cryptography.X509Certificates;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Tls;

/// <summary>A client's side of TLS: its mode, whose servers it trusts, and its own certificate if it has one; or a key
/// that is shared with the server.</summary>
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

    /// <summary>A user and the key that is shared with the server, in place of certificates.</summary>
    internal (string User, byte[] Key)? Shared { get; private init; }

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

    /// <summary>Reads a user's key from a file of shared keys, one <c>USER:KEY</c> a line, as psktool writes it. The
    /// server is the one that knows the key; TLS 1.2 is spoken.</summary>
    /// <param name="file">The file.</param>
    /// <param name="user">The user; null for the name of the user who runs this process.</param>
    /// <param name="mode">Whether TLS is asked for, or insisted on.</param>
    /// <exception cref="NbdException">The file is missing or is not what it should be, or has no such user.</exception>
    public static NbdClientTls LoadKey(string file, string? user = null, NbdTlsMode mode = NbdTlsMode.Require)
    {
        user ??= Environment.UserName;
        return new NbdClientTls(mode) { Shared = (user, PskFile.Load(file).Require(user)) };
    }

    /// <summary>What a URI says; null when it asks for no TLS.</summary>
    /// <exception cref="NbdException">A file of its folder is not what its name says.</exception>
    public static NbdClientTls? ForUri(NbdUri uri)
    {
        ArgumentNullException.ThrowIfNull(uri);
        return uri.Tls == NbdTlsMode.Disable ? null
            : uri.TlsKeys is { } keys ? LoadKey(keys, uri.TlsUser, uri.Tls)
            : Load(uri.TlsCertificates, uri.Tls, uri.TlsHostName, uri.TlsVerifyPeer);
    }

    /// <summary>The client's handshake, over a connection whose server agreed to STARTTLS.</summary>
    /// <param name="below">The connection.</param>
    /// <param name="host">The server's name, where none is set here.</param>
    /// <exception cref="NbdException">The server cannot, or is not to be trusted.</exception>
    internal NbdTransport Connect(NbdTransport below, string host) => Shared is { } shared
        ? PskTransport.Connect(below, shared.User, (byte[])shared.Key.Clone())
        : TlsTransport.Connect(below, this, HostName ?? host);
}
