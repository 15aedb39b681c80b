using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace Tidemark.Nbd.Protocol;

/// <summary>A connected stream socket, unix or TCP, without TLS.</summary>
/// <remarks>The socket must never have been used asynchronously: the runtime would have made it non-blocking.</remarks>
internal sealed class SocketTransport : NbdTransport
{
    private const int SendPeriod = 1000;

    /// <summary>What one end may have sent that the other has not received: enough for a message of 256 KiB, so that
    /// sending it waits for nobody. The system's own limit is 208 KiB; it may grant less than this.</summary>
    private const int SendBuffer = 1 << 20;

    private readonly Socket _socket;
    private readonly SafeSocketHandle _handle;
    private volatile bool _aborted;

    internal SocketTransport(Socket socket, string peer)
    {
        _socket = socket;
        _handle = socket.SafeHandle;

        // A send that is blocked looks up now and then whether it is still wanted.
        socket.SendTimeout = SendPeriod;
        Peer = peer;
        if (socket.AddressFamily == AddressFamily.Unix)
        {
            socket.SendBufferSize = SendBuffer;
        }

        if (socket.AddressFamily is AddressFamily.InterNetwork or AddressFamily.InterNetworkV6)
        {
            socket.NoDelay = true;
            socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
        }
    }

    internal override string Peer { get; }

    internal override bool IsLocal => _socket.AddressFamily == AddressFamily.Unix;

    internal override unsafe bool HasWaitingBytes
    {
        get
        {
            byte one;
            return LinuxSocket.Receive(_handle, &one, 1, LinuxSocket.Peek | LinuxSocket.DontWait) > 0;
        }
    }

    internal override int Receive(Span<byte> target) => Receive(target, 0);

    internal override int ReceiveAll(Span<byte> target)
    {
        var received = 0;
        while (received < target.Length)
        {
            var count = Receive(target[received..], LinuxSocket.WaitAll);
            if (count == 0)
            {
                break;
            }

            received += count;
        }

        return received;
    }

    internal override unsafe int Receive(Span<byte> first, Span<byte> second)
    {
        fixed (byte* firstStart = first)
        fixed (byte* secondStart = second)
        {
            var parts = stackalloc LinuxSocket.Part[2];
            parts[0] = new LinuxSocket.Part { Start = firstStart, Length = first.Length };
            parts[1] = new LinuxSocket.Part { Start = secondStart, Length = second.Length };
            var message = new LinuxSocket.Message { Parts = parts, PartCount = 2 };
            while (!_aborted)
            {
                var count = LinuxSocket.Receive(_handle, &message, 0);
                if (count >= 0)
                {
                    return (int)count;
                }

                ThrowUnlessInterrupted("receive from");
            }

            return 0;
        }
    }

    internal override unsafe void Send(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second)
    {
        fixed (byte* firstStart = first)
        fixed (byte* secondStart = second)
        {
            var parts = stackalloc LinuxSocket.Part[2];
            parts[0] = new LinuxSocket.Part { Start = firstStart, Length = first.Length };
            parts[1] = new LinuxSocket.Part { Start = secondStart, Length = second.Length };
            var message = new LinuxSocket.Message { Parts = parts, PartCount = second.IsEmpty ? 1 : 2 };
            while (message.PartCount > 0)
            {
                if (_aborted)
                {
                    throw new IOException($"the connection to {Peer} has ended");
                }

                var sent = LinuxSocket.Send(_handle, &message, LinuxSocket.NoSignal);
                if (sent < 0)
                {
                    ThrowUnlessInterrupted("send to");
                    continue;
                }

                while (message.PartCount > 0 && sent >= message.Parts->Length)
                {
                    sent -= message.Parts->Length;
                    message.Parts++;
                    message.PartCount--;
                }

                if (message.PartCount > 0)
                {
                    message.Parts->Start += sent;
                    message.Parts->Length -= sent;
                }
            }
        }
    }

    internal override unsafe bool TrySend(ReadOnlySpan<byte> bytes)
    {
        fixed (byte* start = bytes)
        {
            var part = new LinuxSocket.Part { Start = start, Length = bytes.Length };
            var message = new LinuxSocket.Message { Parts = &part, PartCount = 1 };
            return LinuxSocket.Send(_handle, &message, LinuxSocket.NoSignal | LinuxSocket.DontWait) == bytes.Length;
        }
    }

    internal override void Abort()
    {
        _aborted = true;
        Shutdown(SocketShutdown.Receive);
    }

    internal override void EndReceiving() => Shutdown(SocketShutdown.Receive);

    internal override void EndSending() => Shutdown(SocketShutdown.Send);

    public override void Dispose() => _socket.Dispose();

    /// <summary>Two ends of one connection, inside this process.</summary>
    internal static unsafe (SocketTransport First, SocketTransport Second) CreatePair()
    {
        const int AF_UNIX = 1, SOCK_STREAM = 1, SOCK_CLOEXEC = 0x80000;
        var descriptors = stackalloc int[2];
        if (LinuxSocket.CreatePair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, descriptors) != 0)
        {
            throw new IOException($"no socket pair: {Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError())}");
        }

        return (Wrap(descriptors[0]), Wrap(descriptors[1]));

        static SocketTransport Wrap(int descriptor) =>
            new(new Socket(new SafeSocketHandle(descriptor, ownsHandle: true)), "this process");
    }

    private unsafe int Receive(Span<byte> target, int flags)
    {
        fixed (byte* start = target)
        {
            while (!_aborted)
            {
                var count = LinuxSocket.Receive(_handle, start, target.Length, flags);
                if (count >= 0)
                {
                    return (int)count;
                }

                ThrowUnlessInterrupted("receive from");
            }

            return 0;
        }
    }

    private void Shutdown(SocketShutdown how)
    {
        try
        {
            _socket.Shutdown(how);
        }
        catch (SocketException)
        {
            // Not connected any more: what was wanted.
        }
        catch (ObjectDisposedException)
        {
            // Freed already: likewise.
        }
    }

    private void ThrowUnlessInterrupted(string doing)
    {
        var error = Marshal.GetLastPInvokeError();
        if (error is not (LinuxSocket.EINTR or LinuxSocket.EAGAIN))
        {
            throw new IOException($"could not {doing} {Peer}: {Marshal.GetPInvokeErrorMessage(error)}");
        }
    }
}
