using System.Net;
using System.Net.Sockets;
using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Running;

/// <summary>The addresses by which this host and the host of a TCP monitor see each other.</summary>
/// <param name="Local">This host's address on the way there.</param>
/// <param name="Remote">The monitor's host.</param>
internal sealed record HostRoute(IPAddress Local, IPAddress Remote)
{
    // Any port: connecting a datagram socket sends nothing, it only asks the kernel for the route.
    private const int DiscardPort = 9;

    /// <summary>Whether both are one host, by the loopback or by an address of its own.</summary>
    internal bool IsThisHost => IPAddress.IsLoopback(Remote) || Local.Equals(Remote);

    /// <summary>Finds the way to a host: by IPv4 where there is one.</summary>
    /// <param name="host">A name or an address.</param>
    /// <exception cref="BackupException">There is none.</exception>
    internal static HostRoute Find(string host)
    {
        try
        {
            IPAddress[] addresses = IPAddress.TryParse(host, out var parsed) ? [parsed] : Dns.GetHostAddresses(host);
            SocketException? first = null;
            foreach (var address in addresses.OrderBy(one => one.AddressFamily != AddressFamily.InterNetwork))
            {
                try
                {
                    using var probe = new Socket(address.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
                    probe.Connect(address, DiscardPort);
                    return new HostRoute(((IPEndPoint)probe.LocalEndPoint!).Address, address);
                }
                catch (SocketException exception)
                {
                    first ??= exception;
                }
            }

            throw first ?? new SocketException((int)SocketError.HostNotFound);
        }
        catch (SocketException exception)
        {
            throw new BackupException(
                BackupErrorKind.Request, $"no way to '{host}' for NBD: {exception.Message}", exception);
        }
    }
}
