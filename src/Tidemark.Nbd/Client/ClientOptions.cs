using System.Buffers.Binary;
using System.Text;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

/// <summary>Options and their replies on the wire, as a client sends and reads them. Every length is checked before
/// anything is read.</summary>
/// <remarks>Blocking; runs on the connection's own thread.</remarks>
internal sealed class ClientOptions(NbdTransport transport, ReceiveBuffer receiver)
{
    private NbdTransport _transport = transport;

    /// <summary>Whether the last option was answered in full, so that another may be sent.</summary>
    internal bool IsBetweenOptions { get; private set; }

    /// <summary>The connection goes on over another transport.</summary>
    internal void Switch(NbdTransport transport) => _transport = transport;

    /// <summary>No option may be sent for now.</summary>
    internal void Suspend() => IsBetweenOptions = false;

    /// <summary>The greeting is over, and options may follow.</summary>
    internal void Begin() => IsBetweenOptions = true;

    /// <summary>Sends an option and reads its replies up to the final one, which is returned.</summary>
    internal OptionReply Ask(NbdOption option, byte[] data, Action<OptionReply> each)
    {
        Send(option, data);
        for (var count = 0; count < NbdLimits.MaximumOptionReplies; count++)
        {
            var reply = Receive(option);
            if (reply.IsError || reply.Type == OptionReplyType.Ack)
            {
                if (reply.Type == OptionReplyType.Ack && reply.Data.Length > 0)
                {
                    throw NbdException.Protocol($"it acknowledges {option} with {reply.Data.Length} bytes of data");
                }

                IsBetweenOptions = true;
                return reply;
            }

            each(reply);
        }

        throw NbdException.Protocol($"it sends more than {NbdLimits.MaximumOptionReplies} replies to {option}");
    }

    /// <summary>Sends an option whose answer is read elsewhere.</summary>
    internal void Send(NbdOption option, byte[] data)
    {
        IsBetweenOptions = false;
        Span<byte> header = stackalloc byte[OptionHeader.Size];
        new OptionHeader(option, (uint)data.Length).Write(header);
        _transport.Send(header, data);
    }

    /// <summary>The data of an option that names an export and queries of metadata contexts.</summary>
    internal static byte[] Queries(string exportName, IReadOnlyList<string> queries)
    {
        var texts = queries.Select(Encoding.UTF8.GetBytes).ToList();
        var name = Encoding.UTF8.GetBytes(exportName);
        var data = new byte[8 + name.Length + texts.Sum(text => 4 + text.Length)];
        var position = Put(data, 0, name);
        BinaryPrimitives.WriteInt32BigEndian(data.AsSpan(position), texts.Count);
        position += 4;
        foreach (var text in texts)
        {
            position = Put(data, position, text);
        }

        return data;
    }

    /// <summary>The data of INFO and GO.</summary>
    internal static byte[] InformationRequest(string exportName, params ReadOnlySpan<NbdInfo> items)
    {
        var name = Encoding.UTF8.GetBytes(exportName);
        var data = new byte[6 + name.Length + (2 * items.Length)];
        var position = Put(data, 0, name);
        BinaryPrimitives.WriteUInt16BigEndian(data.AsSpan(position), (ushort)items.Length);
        foreach (var item in items)
        {
            position += 2;
            BinaryPrimitives.WriteUInt16BigEndian(data.AsSpan(position), (ushort)item);
        }

        return data;
    }

    private OptionReply Receive(NbdOption option)
    {
        if (!OptionReplyHeader.TryRead(receiver.Take(OptionReplyHeader.Size), out var header))
        {
            throw NbdException.Protocol("a reply to an option has the wrong magic number");
        }

        if (header.Option != option)
        {
            throw NbdException.Protocol($"it answers option {header.Option} instead of {option}");
        }

        if (header.Length > NbdLimits.MaximumOptionReplyLength)
        {
            throw NbdException.Protocol(
                $"a reply of {header.Length} bytes to {option} is over the limit "
                + $"of {NbdLimits.MaximumOptionReplyLength}");
        }

        var body = new byte[header.Length];
        receiver.CopyTo(body);
        return new OptionReply(header.Type, body);
    }

    private static int Put(byte[] target, int position, byte[] text)
    {
        BinaryPrimitives.WriteInt32BigEndian(target.AsSpan(position), text.Length);
        text.CopyTo(target, position + 4);
        return position + 4 + text.Length;
    }
}
