using Tidemark.Backup.Running;
using Tidemark.Qmp;

namespace Tidemark.Cli.Sources;

/// <summary>The way to a hypervisor's monitor.</summary>
internal static class MonitorConnector
{
    /// <summary>The hypervisor at a monitor. State is kept under its name: the socket's full path, links not followed,
    /// because a link is how a socket that moves at each start gets a name that stays; or host and port.</summary>
    public static HypervisorSource Of(BackupSource source)
    {
        var (name, endPoint, host) = source switch
        {
            UnixMonitorSource unix => ($"qmp:{Path.GetFullPath(unix.Path)}", QmpEndPoint.Unix(unix.Path), null),
            TcpMonitorSource tcp => ($"qmp:{tcp.Host}:{tcp.Port}", QmpEndPoint.Tcp(tcp.Host, tcp.Port), tcp.Host),
            _ => throw new InvalidOperationException($"no monitor at {source}"),
        };
        return new HypervisorSource(
            name, async token => await QmpConnection.ConnectAsync(endPoint, cancellationToken: token))
        {
            TcpHost = host,
        };
    }
}
