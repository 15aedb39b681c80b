// Taking files back. A name says little: the file that we made may be gone, and somebody else's may stand there since.
// So what is deleted is a file that is known, by its number and its birth, and not a name.

using System.Net.Sockets;
using Tidemark.Backup.Planning;

namespace Tidemark.Backup.Running;

/// <summary>Deletes files of ours, and nobody else's.</summary>
internal static class FileRemoval
{
    /// <summary>Deletes a file that nobody else would name so.</summary>
    internal static void Delete(string path)
    {
        if (File.Exists(path))
        {
            File.Delete(path);
        }
    }

    /// <summary>Whether the file of a name is the one that we made.</summary>
    /// <param name="path">Its path.</param>
    /// <param name="identity">Which file that was; null when a run was killed before it could write that down. It had
    /// made the file by then or not, but nobody had been told of it: it is empty. An empty file of another's is
    /// taken for ours then, which costs its owner no content.</param>
    internal static bool IsOurs(string path, FileIdentity? identity) =>
        FileStatus.Read(path) is { IsRegular: true } status
        && (identity is { } known ? status.Identity == known : status.Length == 0);

    /// <summary>Deletes a file that we made, unless its name is another file's by now.</summary>
    internal static void DeleteOurs(string path, FileIdentity? identity)
    {
        if (IsOurs(path, identity))
        {
            File.Delete(path);
        }
    }

    /// <summary>Deletes the socket that a server left behind. One that somebody answers at is another's: ours was
    /// stopped before.</summary>
    internal static void DeleteSocket(string path)
    {
        if (FileStatus.Read(path) is { IsSocket: true } && !IsAnswered(path))
        {
            File.Delete(path);
        }
    }

    /// <summary>Whether somebody listens at a socket.</summary>
    internal static bool IsAnswered(string path)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
        {
            Blocking = false,
        };
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(path));
            return true;
        }
        catch (SocketException exception)
        {
            // Refused: nobody listens. Anything else, a full queue for example: somebody does.
            return exception.SocketErrorCode is not (SocketError.ConnectionRefused or SocketError.AddressNotAvailable);
        }
    }
}
