using System.Globalization;
using System.Net.Sockets;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server;

/// <summary>
/// Listening sockets that whoever started this process had opened already: systemd's <c>LISTEN_FDS</c> and
/// <c>LISTEN_PID</c> (sd_listen_fds(3)). <see cref="NbdServer.ListenActivated"/> takes them.
/// </summary>
public static class SocketActivation
{
    /// <summary>The first descriptor that is handed over.</summary>
    internal const int FirstDescriptor = 3;

    private const int MaximumDescriptors = 64;

    /// <summary>How many listening sockets this process was given; 0 when it was started in the ordinary way.</summary>
    /// <exception cref="NbdException">The environment makes no sense.</exception>
    public static int Count => CountOf(
        Environment.GetEnvironmentVariable("LISTEN_PID"),
        Environment.GetEnvironmentVariable("LISTEN_FDS"),
        Environment.ProcessId);

    /// <summary>The same for a given environment. Variables meant for another process are not ours.</summary>
    internal static int CountOf(string? listenPid, string? listenFds, int processId)
    {
        if (listenPid is null || listenFds is null
            || !int.TryParse(listenPid, NumberStyles.None, CultureInfo.InvariantCulture, out var pid)
            || pid != processId)
        {
            return 0;
        }

        return int.TryParse(listenFds, NumberStyles.None, CultureInfo.InvariantCulture, out var count)
            && count is > 0 and <= MaximumDescriptors
                ? count
                : throw new NbdException(
                    BlockErrorKind.Invalid,
                    $"LISTEN_FDS is '{listenFds}'; 1 to {MaximumDescriptors} sockets can be handed over");
    }

    /// <summary>Takes a descriptor over: a stream socket that listens.</summary>
    internal static Socket Take(int descriptor)
    {
        var handle = new SafeSocketHandle(descriptor, ownsHandle: true);
        try
        {
            // Asks the kernel for family and type; a descriptor that is no socket fails here.
            var socket = new Socket(handle);
            if (socket.SocketType != SocketType.Stream
                || (int)socket.GetSocketOption(SocketOptionLevel.Socket, SocketOptionName.AcceptConnection)! == 0)
            {
                throw new NbdException(
                    BlockErrorKind.Invalid, $"descriptor {descriptor}, handed over to listen on, does not listen");
            }

            return socket;
        }
        catch (SocketException exception)
        {
            throw new NbdException(
                BlockErrorKind.Invalid,
                $"descriptor {descriptor}, handed over to listen on, is no socket: {exception.Message}",
                exception);
        }
    }

    /// <summary>The variables are not for programs that this one starts.</summary>
    internal static void Forget()
    {
        foreach (var name in (ReadOnlySpan<string>)["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"])
        {
            Environment.SetEnvironmentVariable(name, null);
        }
    }
}
