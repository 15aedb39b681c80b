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
internal sealed class TlsTransport : NbdTransport
{
    /// <summary>A header and the beginning of its payload leave in one record; a record has at most 16 KiB.</summary>
    private const int FirstRecord = 16 * 1024;

    private const SslProtocols Versions = SslProtocols.Tls12 | SslProtocols.Tls13;

    private readonly NbdTransport _below;
    private readonly TransportStream _stream;
    private readonly SslStream _ssl;
    private readonly byte[] _first = new byte[FirstRecord];

    private TlsTransport(NbdTransport below)
    {
        _below = below;
        _stream = new TransportStream(below);
        _ssl = new SslStream(_stream, leaveInnerStreamOpen: true);
    }

    internal override string Peer => _below.Peer;

    internal override bool IsLocal => _below.IsLocal;

    // What SslStream holds decrypted does not show: a hint that is sometimes missed costs speed and nothing else.
    internal override bool HasWaitingBytes => _below.HasWaitingBytes;

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

    internal override int Receive(Span<byte> target)
    {
        try
        {
            return _ssl.Read(target);
        }
        catch (Exception exception) when (exception is InvalidOperationException or AuthenticationException)
        {
            throw new IOException($"could not receive from {Peer} over TLS: {exception.Message}", exception);
        }
    }

    internal override int ReceiveAll(Span<byte> target)
    {
        var received = 0;
        while (received < target.Length)
        {
            var count = Receive(target[received..]);
            if (count == 0)
            {
                break;
            }

            received += count;
        }

        return received;
    }

    internal override void Send(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second)
    {
        try
        {
            if (first.Length < FirstRecord && !second.IsEmpty)
            {
                first.CopyTo(_first);
                var count = Math.Min(second.Length, FirstRecord - first.Length);
                second[..count].CopyTo(_first.AsSpan(first.Length));
                _ssl.Write(_first.AsSpan(0, first.Length + count));
                second = second[count..];
            }
            else
            {
                _ssl.Write(first);
            }

            if (!second.IsEmpty)
            {
                _ssl.Write(second);
            }
        }
        catch (Exception exception) when (exception is InvalidOperationException or AuthenticationException)
        {
            throw new IOException($"could not send to {Peer} over TLS: {exception.Message}", exception);
        }
    }

    internal override bool TrySend(ReadOnlySpan<byte> bytes) => false;

    internal override void EndSession()
    {
        _stream.IsLeaving = true;
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

    internal override void Abort() => _below.Abort();

    internal override void EndReceiving() => _below.EndReceiving();

    // No farewell: another thread may be sending, and whoever ends so has no time for one.
    internal override void EndSending() => _below.EndSending();

    public override void Dispose()
    {
        _ssl.Dispose();
        _below.Dispose();
    }

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
