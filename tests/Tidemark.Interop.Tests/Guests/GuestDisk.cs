using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;

namespace Tidemark.Interop.Tests.Guests;

/// <summary>
/// A disk as a guest sees it: a writable NBD export, spoken to with the few messages that a write needs.
/// </summary>
/// <remarks>
/// Not the product's client: what judges a product's server must not share its mistakes. NBD's doc/proto.md: "Fixed
/// newstyle negotiation" with NBD_OPT_EXPORT_NAME, then simple replies only.
/// </remarks>
internal sealed class GuestDisk : IDisposable
{
    private const int GreetingLength = 18;
    private const int ExportInfoLength = 10;
    private const int RequestLength = 28;
    private const int ReplyLength = 16;
    private const ulong OptionMagic = 0x49484156454F5054;
    private const uint RequestMagic = 0x25609513;
    private const uint ReplyMagic = 0x67446698;

    private readonly Socket _socket;
    private ulong _cookie;

    private GuestDisk(Socket socket) => _socket = socket;

    public long Length { get; private set; }

    public static async Task<GuestDisk> ConnectAsync(string socketPath, string exportName, CancellationToken token)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await socket.ConnectAsync(new UnixDomainSocketEndPoint(socketPath), token);
        var disk = new GuestDisk(socket);
        await disk.ReceiveAsync(GreetingLength, token);

        var name = Encoding.UTF8.GetBytes(exportName);
        var hello = new byte[4 + 16 + name.Length];
        BinaryPrimitives.WriteUInt32BigEndian(hello, 3);                                 // fixed newstyle, no zeroes
        BinaryPrimitives.WriteUInt64BigEndian(hello.AsSpan(4), OptionMagic);
        BinaryPrimitives.WriteUInt32BigEndian(hello.AsSpan(12), 1);                      // NBD_OPT_EXPORT_NAME
        BinaryPrimitives.WriteUInt32BigEndian(hello.AsSpan(16), (uint)name.Length);
        name.CopyTo(hello, 20);
        await disk.SendAsync(hello, token);
        disk.Length = BinaryPrimitives.ReadInt64BigEndian(await disk.ReceiveAsync(ExportInfoLength, token));
        return disk;
    }

    public Task WriteAsync(long offset, byte[] data, CancellationToken token) =>
        RequestAsync(command: 1, offset, data.Length, data, token);

    public Task FlushAsync(CancellationToken token) => RequestAsync(command: 3, 0, 0, [], token);

    public async Task<byte[]> ReadAsync(long offset, int length, CancellationToken token)
    {
        await RequestAsync(command: 0, offset, length, [], token);
        return await ReceiveAsync(length, token);
    }

    public void Dispose() => _socket.Dispose();

    private async Task RequestAsync(ushort command, long offset, int length, byte[] payload, CancellationToken token)
    {
        var request = new byte[RequestLength + payload.Length];
        BinaryPrimitives.WriteUInt32BigEndian(request, RequestMagic);
        BinaryPrimitives.WriteUInt16BigEndian(request.AsSpan(6), command);
        BinaryPrimitives.WriteUInt64BigEndian(request.AsSpan(8), ++_cookie);
        BinaryPrimitives.WriteInt64BigEndian(request.AsSpan(16), offset);
        BinaryPrimitives.WriteInt32BigEndian(request.AsSpan(24), length);
        payload.CopyTo(request, RequestLength);
        await SendAsync(request, token);

        var reply = await ReceiveAsync(ReplyLength, token);
        if (BinaryPrimitives.ReadUInt32BigEndian(reply) != ReplyMagic
            || BinaryPrimitives.ReadUInt64BigEndian(reply.AsSpan(8)) != _cookie)
        {
            throw new InvalidDataException("the NBD server's reply is none to our request");
        }

        if (BinaryPrimitives.ReadUInt32BigEndian(reply.AsSpan(4)) is not 0 and var error)
        {
            throw new IOException($"the guest's request {command} at {offset} failed with NBD error {error}");
        }
    }

    private async Task SendAsync(byte[] data, CancellationToken token)
    {
        for (var sent = 0; sent < data.Length;)
        {
            sent += await _socket.SendAsync(data.AsMemory(sent), token);
        }
    }

    private async Task<byte[]> ReceiveAsync(int length, CancellationToken token)
    {
        var data = new byte[length];
        for (var received = 0; received < length;)
        {
            var count = await _socket.ReceiveAsync(data.AsMemory(received), token);
            received += count > 0 ? count : throw new EndOfStreamException("the NBD server hung up");
        }

        return data;
    }
}
