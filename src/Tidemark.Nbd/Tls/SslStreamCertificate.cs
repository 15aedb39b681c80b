using System.Net.Security;
using System.Security.Cryptography.X509Certificates;

namespace Tidemark.Nbd.Tls;

/// <summary>A certificate with its key, and the certificates between it and its authority.</summary>
internal sealed class SslStreamCertificate
{
    internal SslStreamCertificate(X509Certificate2 certificate, X509Certificate2Collection between) =>
        Context = SslStreamCertificateContext.Create(certificate, between, offline: true);

    /// <summary>As the TLS of .NET wants it.</summary>
    internal SslStreamCertificateContext Context { get; }
}
