using System.Net;
using System.Net.Sockets;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Planning;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Backup.Running;

/// <summary>Chooses where the NBD server of a run listens.</summary>
/// <param name="Address">The address.</param>
/// <param name="Runs">Whether the hypervisor serves there already.</param>
/// <param name="RunDirectory">The directory that the run makes for its socket, or null.</param>
internal sealed record NbdPlace(NbdAddress Address, bool Runs, string? RunDirectory)
{
    /// <summary>Chooses.</summary>
    /// <param name="request">What is asked for.</param>
    /// <param name="route">The way to the host of a TCP monitor; null for a monitor on a unix socket.</param>
    /// <param name="runId">The run.</param>
    /// <exception cref="BackupException">The URI names an export, or no address can be had.</exception>
    internal static NbdPlace Choose(BackupRequest request, HostRoute? route, string runId)
    {
        if (request.NbdUri is { } uri && request.Mode == BackupMode.Pull)
        {
            NbdUri parsed;
            try
            {
                parsed = NbdUri.Parse(uri);
            }
            catch (NbdException exception)
            {
                throw new BackupException(BackupErrorKind.Request, $"--nbd: {exception.Message}", exception);
            }

            return new NbdPlace(
                parsed.EndPoint.IsUnix
                    ? NbdAddress.Unix(parsed.EndPoint.SocketPath!)
                    : NbdAddress.Tcp(parsed.EndPoint.Host!, parsed.EndPoint.Port),
                Runs: true,
                RunDirectory: null);
        }

        if (route is not null)
        {
            return new NbdPlace(TcpAddress(request.Mode, route), Runs: false, RunDirectory: null);
        }

        var folder = Path.Combine(Path.GetTempPath(), new RunNames(runId).Checkpoint);
        var socket = Path.Combine(folder, "nbd.sock");
        if (socket.Length > NbdEndPoint.MaximumSocketPathLength)
        {
            folder = $"/tmp/{new RunNames(runId).Checkpoint}";
            socket = $"{folder}/nbd.sock";
        }

        return new NbdPlace(NbdAddress.Unix(socket), Runs: false, folder);
    }

    // Pull: a port at the hypervisor's host. Push: a port here, by the address that the hypervisor's host sees.
    private static NbdAddress TcpAddress(BackupMode mode, HostRoute route)
    {
        try
        {
            using var listener = new Socket(route.Local.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            listener.Bind(new IPEndPoint(route.Local, 0));
            var port = ((IPEndPoint)listener.LocalEndPoint!).Port;

            // Free a moment ago, and nobody's yet: if somebody takes it meanwhile, the start of the server says so.
            return NbdAddress.Tcp((mode == BackupMode.Pull ? route.Remote : route.Local).ToString(), port);
        }
        catch (SocketException exception)
        {
            throw new BackupException(
                BackupErrorKind.Request, $"no port for NBD at {route.Local}: {exception.Message}", exception);
        }
    }
}
