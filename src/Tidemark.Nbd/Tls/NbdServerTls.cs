using System.Security.Cryptography.X509Certificates;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Tls;

/// <summary>A server's side of TLS: its mode, its certificate, and whose clients it trusts.</summary>
/// <remarks>Immutable; one may serve many servers.</remarks>
public sealed class NbdServerTls
{
    private NbdServerTls(
        NbdTlsMode mode, SslStreamCertificate certificate, X509Certificate2Collection? authorities, bool verifyClients)
    {
        (Mode, Certificate, Authorities, VerifiesClients) = (mode, certificate, authorities, verifyClients);
    }

    /// <summary>Whether clients may, or must, use TLS.</summary>
    public NbdTlsMode Mode { get; }

    /// <summary>Whether a client must show a certificate of our authority.</summary>
    public bool VerifiesClients { get; }

    internal SslStreamCertificate Certificate { get; }

    internal X509Certificate2Collection? Authorities { get; }

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

        return new NbdServerTls(mode, certificate, authorities, verifyClients);
    }
}
