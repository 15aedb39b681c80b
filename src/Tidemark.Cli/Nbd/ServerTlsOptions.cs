using System.CommandLine;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Tls;

namespace Tidemark.Cli.Nbd;

/// <summary>The TLS options of <c>nbd serve</c>, by nbdkit's names.</summary>
internal sealed class ServerTlsOptions
{
    private readonly Option<string> _mode = new("--tls")
    {
        Description = "disable, allow or require TLS. Default: require with --tls-certificates or --tls-psk.",
        HelpName = "disable|allow|require",
    };

    private readonly Option<string?> _certificates = new("--tls-certificates")
    {
        Description = "The folder with server-cert.pem, server-key.pem and ca-cert.pem.",
        HelpName = "DIR",
    };

    private readonly Option<string?> _keys = new("--tls-psk")
    {
        Description = "A file of shared keys, USER:KEY a line (psktool), in place of certificates.",
        HelpName = "FILE",
    };

    private readonly Option<bool> _verifyPeer = new("--tls-verify-peer")
    {
        Description = "Serve only clients that show a certificate of ca-cert.pem's authority.",
    };

    /// <summary>Adds the options to a verb.</summary>
    public ServerTlsOptions(Command command)
    {
        _mode.AcceptOnlyFromAmong("disable", "allow", "require");
        command.Add(_mode);
        command.Add(_certificates);
        command.Add(_keys);
        command.Add(_verifyPeer);
    }

    /// <summary>What was asked for; null for no TLS.</summary>
    /// <exception cref="UsageException">Options that make no sense together.</exception>
    /// <exception cref="NbdException">A certificate cannot be used.</exception>
    public NbdServerTls? Read(ParseResult parsed)
    {
        var folder = parsed.GetValue(_certificates);
        var keys = parsed.GetValue(_keys);
        var mode = parsed.GetValue(_mode) ?? (folder is null && keys is null ? "disable" : "require");
        var verifies = parsed.GetValue(_verifyPeer);
        if (mode == "disable")
        {
            return folder is null && keys is null && !verifies
                ? null
                : throw new UsageException(
                    "--tls-certificates, --tls-psk and --tls-verify-peer need --tls allow or require");
        }

        var wanted = mode == "allow" ? NbdTlsMode.Allow : NbdTlsMode.Require;
        return (folder, keys) switch
        {
            (not null, not null) => throw new UsageException("--tls-certificates and --tls-psk exclude each other"),
            (not null, null) => NbdServerTls.Load(folder, wanted, verifies),
            (null, not null) when verifies => throw new UsageException(
                "--tls-verify-peer is for certificates; with --tls-psk every client has shown that it has a key"),
            (null, not null) => NbdServerTls.LoadKeys(keys, wanted),
            _ => throw new UsageException($"--tls {mode} needs --tls-certificates or --tls-psk"),
        };
    }
}
