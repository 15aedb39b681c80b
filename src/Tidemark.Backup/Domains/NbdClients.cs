using System.Globalization;
using Tidemark.Backup.Planning;

namespace Tidemark.Backup.Domains;

/// <summary>
/// Counts the clients of an NBD server on this machine. A hypervisor's monitor does not tell of them, the kernel does:
/// each connection that the server accepted is a socket with the server's own address.
/// </summary>
internal static class NbdClients
{
    // The states of sockets in /proc/net, as the kernel numbers them.
    private const string UnixConnected = "03";
    private const string UnixListening = "01";
    private const string TcpEstablished = "01";
    private const string TcpListening = "0A";

    private const string AcceptsConnections = "00010000";

    /// <summary>How many clients are connected; null when the server is not on this machine, or cannot be
    /// seen.</summary>
    internal static int? Count(NbdAddress address)
    {
        try
        {
            return address.Path is { } path
                ? CountUnix(File.ReadLines("/proc/net/unix"), path)
                : CountTcp(
                    File.ReadLines("/proc/net/tcp").Concat(
                        File.Exists("/proc/net/tcp6") ? File.ReadLines("/proc/net/tcp6") : []),
                    address.Port);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Counts in the lines of <c>/proc/net/unix</c>:
    /// number, references, protocol, flags, type, state, inode, path.</summary>
    internal static int? CountUnix(IEnumerable<string> lines, string path)
    {
        var listens = false;
        var clients = 0;
        foreach (var line in lines)
        {
            string[] fields = line.Split(' ', 8, StringSplitOptions.RemoveEmptyEntries);
            if (fields.Length == 8 && fields[7] == path)
            {
                listens |= fields[5] == UnixListening && fields[3] == AcceptsConnections;
                clients += fields[5] == UnixConnected ? 1 : 0;
            }
        }

        return listens || clients > 0 ? clients : null;
    }

    /// <summary>Counts in the lines of <c>/proc/net/tcp</c>: slot, local address, remote address, state.</summary>
    internal static int? CountTcp(IEnumerable<string> lines, int port)
    {
        var listens = false;
        var clients = 0;
        var ending = string.Create(CultureInfo.InvariantCulture, $":{port:X4}");
        foreach (var line in lines)
        {
            string[] fields = line.Split(' ', 5, StringSplitOptions.RemoveEmptyEntries);
            if (fields.Length == 5 && fields[1].EndsWith(ending, StringComparison.Ordinal))
            {
                listens |= fields[3] == TcpListening;
                clients += fields[3] == TcpEstablished ? 1 : 0;
            }
        }

        return listens || clients > 0 ? clients : null;
    }
}
