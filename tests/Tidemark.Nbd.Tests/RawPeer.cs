using System.Buffers.Binary;
using System.Text;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Tests;

/// <summary>One end of a connection that sends and expects single
/// bytes: for what a decent peer would never do.</summary>
internal sealed class RawPeer(NbdTransport transport) : IDisposable
{
    internal NbdTransport Transport => transport;

    public void Dispose()
    {
        transport.Abort();
        transport.Dispose();
    }

    internal static byte[] Bytes(params object[] fields)
    {
        using var stream = new MemoryStream();
        Span<byte> number = stackalloc byte[8];
        foreach (var field in fields)
        {
            switch (field)
            {
                case byte value:
                    stream.WriteByte(value);
                    break;
                case ushort value:
                    BinaryPrimitives.WriteUInt16BigEndian(number, value);
                    stream.Write(number[..2]);
                    break;
                case uint value:
                    BinaryPrimitives.WriteUInt32BigEndian(number, value);
                    stream.Write(number[..4]);
                    break;
                case ulong value:
                    BinaryPrimitives.WriteUInt64BigEndian(number, value);
                    stream.Write(number);
                    break;
                case string text:
                    stream.Write(Encoding.UTF8.GetBytes(text));
                    break;
                case byte[] bytes:
                    stream.Write(bytes);
                    break;
                default:
                    throw new ArgumentException($"{field.GetType()} is no field");
            }
        }

        return stream.ToArray();
    }

    internal static byte[] Option(NbdOption option, params object[] data)
    {
        var bytes = Bytes(data);
        return Bytes(NbdMagic.Option, (uint)option, (uint)bytes.Length, bytes);
    }

    internal static byte[] Request(
        NbdCommand command, ulong offset, uint length, ulong cookie = 1, CommandFlags flags = CommandFlags.None)
    {
        var header = new byte[RequestHeader.Size];
        new RequestHeader(flags, command, cookie, offset, length).Write(header);
        return header;
    }

    internal static byte[] Named(string text) => Bytes((uint)Encoding.UTF8.GetByteCount(text), text);

    internal void Send(params object[] fields) => transport.Send(Bytes(fields), default);

    internal byte[] Receive(int count)
    {
        var bytes = new byte[count];
        var received = transport.ReceiveAll(bytes);
        return received == count ? bytes : throw new EndOfStreamException($"{received} of {count} bytes came");
    }

    internal ushort UInt16() => BinaryPrimitives.ReadUInt16BigEndian(Receive(2));

    internal uint UInt32() => BinaryPrimitives.ReadUInt32BigEndian(Receive(4));

    internal ulong UInt64() => BinaryPrimitives.ReadUInt64BigEndian(Receive(8));

    internal bool IsClosed
    {
        get
        {
            try
            {
                return transport.Receive(new byte[1]) == 0;
            }
            catch (IOException)
            {
                return true;
            }
        }
    }

    /// <summary>A client's first words.</summary>
    internal RawPeer Greet(uint flags = 3)
    {
        Receive(18);
        Send(flags);
        return this;
    }

    internal (OptionReplyType Type, byte[] Data) OptionReply(NbdOption expected)
    {
        if (!OptionReplyHeader.TryRead(Receive(OptionReplyHeader.Size), out var header) || header.Option != expected)
        {
            throw new InvalidDataException("no reply to the option");
        }

        return (header.Type, Receive((int)header.Length));
    }

    internal OptionReplyType Ask(NbdOption option, params object[] data)
    {
        Send(Option(option, data));
        while (true)
        {
            var (type, _) = OptionReply(option);
            if (type is not (OptionReplyType.Info or OptionReplyType.Server or OptionReplyType.MetaContext))
            {
                return type;
            }
        }
    }

    /// <summary>Greets, asks for a kind of replies, and enters an export.</summary>
    internal RawPeer Enter(string export, NbdOption replies)
    {
        Greet();
        return Ask(replies) == OptionReplyType.Ack && Ask(NbdOption.Go, Named(export), (ushort)0) == OptionReplyType.Ack
            ? this
            : throw new InvalidDataException($"{replies} or GO was refused");
    }

    /// <summary>Greets and enters an export.</summary>
    internal RawPeer Enter(string export, bool structured = true, params string[] contexts)
    {
        Greet();
        if (structured)
        {
            Ask(NbdOption.StructuredReply);
        }

        if (contexts.Length > 0)
        {
            Ask(NbdOption.SetMetaContext, Named(export), (uint)contexts.Length, Bytes([.. contexts.Select(Named)]));
        }

        if (Ask(NbdOption.Go, Named(export), (ushort)1, (ushort)NbdInfo.BlockSize) != OptionReplyType.Ack)
        {
            throw new InvalidDataException("GO was refused");
        }

        return this;
    }

    internal (NbdError Error, ulong Cookie) SimpleReply()
    {
        var bytes = Receive(SimpleReplyHeader.Size);
        var reply = SimpleReplyHeader.Read(bytes);
        return BinaryPrimitives.ReadUInt32BigEndian(bytes) == NbdMagic.SimpleReply
            ? (reply.Error, reply.Cookie)
            : throw new InvalidDataException("no simple reply");
    }

    internal (ChunkHeader Header, byte[] Payload) Chunk()
    {
        var bytes = Receive(ChunkHeader.Size);
        var chunk = ChunkHeader.Read(bytes);
        return BinaryPrimitives.ReadUInt32BigEndian(bytes) == NbdMagic.StructuredReply
            ? (chunk, Receive((int)chunk.Length))
            : throw new InvalidDataException("no chunk");
    }

    internal NbdError ErrorChunk()
    {
        var (header, payload) = Chunk();
        return header is { Type: ReplyType.Error, IsDone: true }
            ? (NbdError)BinaryPrimitives.ReadUInt32BigEndian(payload)
            : throw new InvalidDataException($"a chunk of type {header.Type} where an error was expected");
    }
}
