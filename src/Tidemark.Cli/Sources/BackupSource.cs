using Tidemark.Qmp;

namespace Tidemark.Cli.Sources;

/// <summary>What SOURCE names: an image that nobody has open, or a hypervisor's monitor.</summary>
internal abstract record BackupSource
{
    private const string MonitorPrefix = QmpEndPoint.Prefix;
    private const string LibvirtPrefix = "libvirt:";

    private protected BackupSource()
    {
    }

    /// <summary>Reads SOURCE: a path, <c>qmp:PATH</c> or <c>qmp:HOST:PORT</c>.</summary>
    /// <exception cref="UsageException">It is none of these.</exception>
    public static BackupSource Parse(string text)
    {
        if (text.StartsWith(LibvirtPrefix, StringComparison.Ordinal))
        {
            throw new UsageException(
                "a source 'libvirt:…' is not supported yet: give the monitor, qmp:PATH or qmp:HOST:PORT");
        }

        if (!text.StartsWith(MonitorPrefix, StringComparison.Ordinal))
        {
            return text.Length > 0 ? new ImageSource(text) : throw new UsageException("SOURCE is empty");
        }

        var address = text[MonitorPrefix.Length..];
        if (address.Length == 0)
        {
            throw new UsageException("'qmp:' needs the monitor's socket: qmp:PATH or qmp:HOST:PORT");
        }

        // A name with a slash is a path whatever it ends with; a port makes an address of the rest.
        var colon = address.LastIndexOf(':');
        if (address.Contains('/') || colon < 0)
        {
            return new UnixMonitorSource(address);
        }

        var host = address[..colon].TrimStart('[').TrimEnd(']');
        return host.Length > 0 && ushort.TryParse(address.AsSpan(colon + 1), out var port) && port > 0
            ? new TcpMonitorSource(host, port)
            : throw new UsageException(
                $"'{text}' is no monitor: qmp:PATH (with a slash) or qmp:HOST:PORT (1 to 65535)");
    }
}
