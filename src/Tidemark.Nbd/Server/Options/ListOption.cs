using System.Buffers.Binary;
using System.Text;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Options;

/// <summary>NBD_OPT_LIST: the exports with their descriptions.</summary>
internal static class ListOption
{
    internal static HandshakeStep Handle(ServerHandshake handshake, ReadOnlySpan<byte> data)
    {
        if (!data.IsEmpty)
        {
            return handshake.Refuse(NbdOption.List, OptionReplyType.ErrorInvalid, "LIST takes no data");
        }

        foreach (var export in handshake.Server.Exports)
        {
            var name = Encoding.UTF8.GetBytes(export.Name);
            var reply = new byte[4 + name.Length + Encoding.UTF8.GetByteCount(export.Options.Description)];
            BinaryPrimitives.WriteInt32BigEndian(reply, name.Length);
            name.CopyTo(reply.AsSpan(4));
            Encoding.UTF8.GetBytes(export.Options.Description, reply.AsSpan(4 + name.Length));
            handshake.Reply(NbdOption.List, OptionReplyType.Server, reply);
        }

        return handshake.Acknowledge(NbdOption.List);
    }
}
