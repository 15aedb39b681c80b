using System.Net.Sockets;

namespace Tidemark.Nbd.Protocol;

/// <summary>What a socket's error means to somebody who wants to reach a server, or to be one.</summary>
internal static class SocketFailure
{
    /// <summary>Why nobody can be reached.</summary>
    internal static string OfConnecting(NbdEndPoint endPoint, SocketException exception) =>
        (endPoint.IsUnix, exception.SocketErrorCode) switch
        {
            (true, SocketError.AddressNotAvailable or SocketError.HostNotFound) => "there is no such socket",
            (true, SocketError.ConnectionRefused) =>
                "nobody listens on it; its server has ended, or it is no socket",
            (true, SocketError.AccessDenied) => "this user may not connect to it",
            (false, SocketError.ConnectionRefused) => "connection refused; nobody listens on this port",
            _ => exception.Message,
        };

    /// <summary>Why nobody can be served there.</summary>
    internal static string OfListening(NbdEndPoint endPoint, SocketException exception) =>
        (endPoint.IsUnix, exception.SocketErrorCode) switch
        {
            (true, SocketError.AddressNotAvailable or SocketError.HostNotFound) => "its folder does not exist",
            (true, SocketError.AddressAlreadyInUse) =>
                "something of this name exists; choose another name, or remove it if nobody uses it",
            (_, SocketError.AddressAlreadyInUse) => "the port is in use; choose another one, or 0 for any",
            (true, SocketError.AccessDenied) => "this user may not create it",
            (false, SocketError.AccessDenied) => "this user may not listen on this port",
            (false, SocketError.AddressNotAvailable) => "this machine does not have the address",
            _ => exception.Message,
        };
}
