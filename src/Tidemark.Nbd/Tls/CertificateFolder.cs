using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Tls;

/// <summary>
/// A folder of certificates as QEMU and nbdkit lay it out: <c>ca-cert.pem</c>, <c>server-cert.pem</c>,
/// <c>server-key.pem</c>, <c>client-cert.pem</c>, <c>client-key.pem</c>.
/// </summary>
internal sealed class CertificateFolder
{
    private const long LongestFile = 1 << 20;

    private readonly string _path;

    /// <summary>Looks at a folder.</summary>
    /// <exception cref="NbdException">There is none.</exception>
    internal CertificateFolder(string path) => _path = Directory.Exists(path)
        ? path
        : throw new NbdException(
            BlockErrorKind.NotFound,
            $"there is no folder '{path}' with certificates (ca-cert.pem, server-cert.pem, ...)");

    /// <summary>The authorities that the peer's certificate must come from; null when the folder has none.</summary>
    internal X509Certificate2Collection? Authorities()
    {
        var file = Path.Combine(_path, "ca-cert.pem");
        return File.Exists(file) ? Read(file, () => Import(file)) : null;
    }

    /// <summary>Our certificate with its key and what is between it and the authority; null when the folder has
    /// none.</summary>
    /// <param name="role"><c>server</c> or <c>client</c>.</param>
    internal SslStreamCertificate? Own(string role)
    {
        var certificateFile = Path.Combine(_path, $"{role}-cert.pem");
        var keyFile = Path.Combine(_path, $"{role}-key.pem");
        if (!File.Exists(certificateFile))
        {
            return null;
        }

        if (!File.Exists(keyFile))
        {
            throw new NbdException(BlockErrorKind.NotFound, $"there is a '{certificateFile}' but no '{keyFile}'");
        }

        return Read(certificateFile, () => new SslStreamCertificate(
            X509Certificate2.CreateFromPemFile(certificateFile, keyFile), Import(certificateFile)));
    }

    private static X509Certificate2Collection Import(string file)
    {
        var certificates = new X509Certificate2Collection();
        certificates.ImportFromPemFile(file);
        return certificates;
    }

    private static T Read<T>(string file, Func<T> read)
    {
        try
        {
            return new FileInfo(file).Length <= LongestFile
                ? read()
                : throw new NbdException(
                    BlockErrorKind.Invalid, $"'{file}' is no certificate: it is longer than {LongestFile} bytes");
        }
        catch (Exception exception)
            when (exception is CryptographicException or IOException or UnauthorizedAccessException)
        {
            throw new NbdException(
                BlockErrorKind.Invalid, $"cannot use the certificate '{file}': {exception.Message}", exception);
        }
    }
}
