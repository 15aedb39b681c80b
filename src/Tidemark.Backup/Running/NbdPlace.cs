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
    /// <exception cref="BackupException">The URI names an export, or no address can be had.</exception>
    internal static NbdPlace Choose(BackupRequest request, HypervisorSource source, string runId)
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

        if (source.TcpHost is { } host)
        {
            return new NbdPlace(TcpAddress(request.Mode, host), Runs: false, RunDirectory: null);
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
    private static NbdAddress TcpAddress(BackupMode mode, string host)
    {
        try
        {
            using var probe = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
            probe.Connect(host, 9);
            var local = ((IPEndPoint)probe.LocalEndPoint!).Address;
            var remote = ((IPEndPoint)probe.RemoteEndPoint!).Address;
            using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            listener.Bind(new IPEndPoint(local, 0));
            var port = ((IPEndPoint)listener.LocalEndPoint!).Port;

            // A free port here is free there only if it is the same host; elsewhere it is a guess, and a failure says
            // so.
            return NbdAddress.Tcp(mode == BackupMode.Pull ? remote.ToString() : local.ToString(), port);
        }
        catch (SocketException exception)
        {
            throw new BackupException(
                BackupErrorKind.Request, $"no way to '{host}' for NBD: {exception.Message}", exception);
        }
    }
}
