using System.Security.Cryptography.X509Certificates;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Tls;

/// <summary>A server's side of TLS: its mode, its certificate, and whose clients it trusts; or keys that are shared
/// with its clients.</summary>
/// <remarks>Immutable; one may serve many servers.</remarks>
public sealed class NbdServerTls
{
    private NbdServerTls(NbdTlsMode mode) => Mode = mode;

    /// <summary>Whether clients may, or must, use TLS.</summary>
    public NbdTlsMode Mode { get; }

    /// <summary>Whether a client must show a certificate of our authority.</summary>
    public bool VerifiesClients { get; private init; }

    internal SslStreamCertificate? Certificate { get; private init; }

    internal X509Certificate2Collection? Authorities { get; private init; }

    internal PskFile? Keys { get; private init; }

    /// <summary>Reads a folder of QEMU's layout: <c>server-cert.pem</c>, <c>server-key.pem</c>, and, to verify clients,
    /// <c>ca-cert.pem</c>.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="mode">Whether clients may, or must, use TLS.</param>
    /// <param name="verifyClients">Whether a client must show a certificate of the folder's authority.</param>
    /// <exception cref="NbdException">A file is missing or is not what its name says.</exception>
    public static NbdServerTls Load(string folder, NbdTlsMode mode = NbdTlsMode.Require, bool verifyClients = false)
    {
        var files = new CertificateFolder(folder);
        var certificate = files.Own("server")
            ?? throw new NbdException(BlockErrorKind.NotFound, $"there is no 'server-cert.pem' in '{folder}'");
        var authorities = files.Authorities();
        if (verifyClients && authorities is null)
        {
            throw new NbdException(
                BlockErrorKind.NotFound,
                $"there is no 'ca-cert.pem' in '{folder}', so clients cannot be verified");
        }

        return new NbdServerTls(mode)
        {
            Certificate = certificate,
            Authorities = authorities,
            VerifiesClients = verifyClients,
        };
    }

    /// <summary>Reads a file of shared keys, one <c>USER:KEY</c> a line, as psktool writes it. Whoever has one of the
    /// keys is let in; TLS 1.2 is spoken.</summary>
    /// <param name="file">The file.</param>
    /// <param name="mode">Whether clients may, or must, use TLS.</param>
    /// <exception cref="NbdException">The file is missing or is not what it should be.</exception>
    public static NbdServerTls LoadKeys(string file, NbdTlsMode mode = NbdTlsMode.Require) =>
        new(mode) { Keys = PskFile.Load(file), VerifiesClients = true };

    /// <summary>The server's handshake, over a connection whose client said STARTTLS.</summary>
    /// <exception cref="NbdException">The client cannot, or is not to be trusted.</exception>
    internal NbdTransport Accept(NbdTransport below) =>
        Keys is null ? TlsTransport.Accept(below, this) : PskTransport.Accept(below, Keys);
}
