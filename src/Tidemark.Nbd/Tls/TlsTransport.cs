using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Tls;

/// <summary>
/// A transport over TLS 1.2 or 1.3, made in the middle of a connection ("TLS support"). Owns the one below.
/// </summary>
/// <remarks>One thread receives and one sends at a time, as everywhere; both may go on together.</remarks>
internal sealed class TlsTransport : RecordTransport
{
    private const SslProtocols Versions = SslProtocols.Tls12 | SslProtocols.Tls13;

    private readonly SslStream _ssl;

    private TlsTransport(NbdTransport below)
        : this(below, new TransportStream(below))
    {
    }

    private TlsTransport(NbdTransport below, TransportStream stream)
        : base(below, stream) =>
        _ssl = new SslStream(stream, leaveInnerStreamOpen: true);

    /// <summary>The server's handshake. Blocks; the connection's deadline ends it.</summary>
    /// <exception cref="NbdException">The client does not speak TLS, or shows no certificate that is good
    /// enough.</exception>
    internal static TlsTransport Accept(NbdTransport below, NbdServerTls settings)
    {
        var transport = new TlsTransport(below);
        try
        {
            transport._ssl.AuthenticateAsServer(new SslServerAuthenticationOptions
            {
                EnabledSslProtocols = Versions,
                ServerCertificateContext = settings.Certificate!.Context,
                ClientCertificateRequired = settings.VerifiesClients,
                CertificateChainPolicy = PolicyFor(settings.Authorities),
                CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
                RemoteCertificateValidationCallback = (_, certificate, _, errors) =>
                    !settings.VerifiesClients || (certificate is not null && errors == SslPolicyErrors.None),
            });
            return transport;
        }
        catch (Exception exception) when (IsFailure(exception))
        {
            transport._ssl.Dispose();
            throw new NbdException(
                BlockErrorKind.Io, $"no TLS with {below.Peer}: {exception.Message}", exception);
        }
    }

    /// <summary>The client's handshake. Blocks; the connection's deadline ends it.</summary>
    /// <exception cref="NbdException">The server does not speak TLS, or its certificate is not to be
    /// trusted.</exception>
    internal static TlsTransport Connect(NbdTransport below, NbdClientTls settings, string hostName)
    {
        var transport = new TlsTransport(below);
        var reason = "";
        try
        {
            transport._ssl.AuthenticateAsClient(new SslClientAuthenticationOptions
            {
                TargetHost = hostName,
                EnabledSslProtocols = Versions,
                ClientCertificateContext = settings.Certificate?.Context,
                CertificateChainPolicy = PolicyFor(settings.Authorities),
                CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
                RemoteCertificateValidationCallback = (_, certificate, _, errors) =>
                {
                    reason = errors == SslPolicyErrors.None
                        ? ""
                        : $" (the certificate of '{certificate?.Subject}' for '{hostName}': {errors})";
                    return !settings.VerifiesServer || errors == SslPolicyErrors.None;
                },
            });
            return transport;
        }
        catch (Exception exception) when (IsFailure(exception))
        {
            transport._ssl.Dispose();
            throw new NbdException(
                BlockErrorKind.Io, $"no TLS with {below.Peer}: {exception.Message}{reason}", exception);
        }
    }

    public override void Dispose()
    {
        _ssl.Dispose();
        base.Dispose();
    }

    protected override int Read(Span<byte> target) => _ssl.Read(target);

    protected override void Write(ReadOnlySpan<byte> bytes) => _ssl.Write(bytes);

    protected override void SayFarewell()
    {
        try
        {
            // Everything below blocks or drops, so the task is complete when it is returned.
            _ssl.ShutdownAsync().GetAwaiter().GetResult();
        }
        catch (Exception exception) when (IsFailure(exception))
        {
            // The connection is gone already.
        }
    }

    protected override bool IsOwnFailure(Exception exception) =>
        exception is InvalidOperationException or AuthenticationException;

    private static X509ChainPolicy PolicyFor(X509Certificate2Collection? authorities)
    {
        var policy = new X509ChainPolicy { RevocationMode = X509RevocationMode.NoCheck };
        if (authorities is not null)
        {
            policy.TrustMode = X509ChainTrustMode.CustomRootTrust;
            policy.CustomTrustStore.AddRange(authorities);
        }

        return policy;
    }

    private static bool IsFailure(Exception exception) => exception is AuthenticationException or IOException
        or InvalidOperationException or CryptographicException;
}
