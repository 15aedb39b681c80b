using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Tidemark.Testing;

/// <summary>An authority of the test's own and certificates of it, in a folder of QEMU's layout.</summary>
public sealed class TestCertificates
{
    private readonly X509Certificate2 _authority;

    public TestCertificates(TemporaryDirectory directory, string name = "pki", string server = "localhost")
    {
        Folder = directory.File(name);
        Directory.CreateDirectory(Folder);
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN=Authority {name}", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(
            X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.DigitalSignature, true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, false));
        _authority = request.CreateSelfSigned(Begin, End);
        File.WriteAllText(Path.Combine(Folder, "ca-cert.pem"), _authority.ExportCertificatePem());
        Issue("server", server, "1.3.6.1.5.5.7.3.1");
        Issue("client", "client", "1.3.6.1.5.5.7.3.2");
    }

    public string Folder { get; }

    private static DateTimeOffset Begin => DateTimeOffset.UtcNow.AddDays(-1);

    private static DateTimeOffset End => DateTimeOffset.UtcNow.AddDays(30);

    /// <summary>The folder without the client's own certificate.</summary>
    public string WithoutClient(TemporaryDirectory directory)
    {
        var folder = directory.File("authority-only");
        Directory.CreateDirectory(folder);
        File.Copy(Path.Combine(Folder, "ca-cert.pem"), Path.Combine(folder, "ca-cert.pem"), overwrite: true);
        return folder;
    }

    private void Issue(string role, string name, string usage)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(false, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, true));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new Oid(usage)], false));
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName(name);
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        using var certificate = request.Create(_authority, Begin, End.AddDays(-1), RandomNumberGenerator.GetBytes(8));
        File.WriteAllText(Path.Combine(Folder, $"{role}-cert.pem"), certificate.ExportCertificatePem());
        File.WriteAllText(Path.Combine(Folder, $"{role}-key.pem"), key.ExportPkcs8PrivateKeyPem());
    }
}
