using System.Buffers.Binary;
using System.Text;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Options;

/// <summary>What LIST_META_CONTEXT and SET_META_CONTEXT share: the data, the search and the replies.</summary>
internal static class MetaContextOption
{
    /// <summary>Reads the export's name and the queries.</summary>
    /// <returns>False when the data is cut off, or a string makes no sense.</returns>
    internal static bool TryParse(ReadOnlySpan<byte> data, out string exportName, out List<string> queries)
    {
        queries = [];
        var reader = new OptionReader(data);
        if (!reader.TryString(out exportName) || !reader.TryUInt32(out var count))
        {
            return false;
        }

        for (uint index = 0; index < count; index++)
        {
            if (!reader.TryString(out var query))
            {
                return false;
            }

            queries.Add(query);
        }

        return reader.IsAtEnd;
    }

    /// <summary>Sends one context; the id is zero when listing.</summary>
    internal static void Send(ServerHandshake handshake, NbdOption option, ExportContext context, uint id)
    {
        var reply = new byte[4 + Encoding.UTF8.GetByteCount(context.Name)];
        BinaryPrimitives.WriteUInt32BigEndian(reply, id);
        Encoding.UTF8.GetBytes(context.Name, reply.AsSpan(4));
        handshake.Reply(option, OptionReplyType.MetaContext, reply);
    }
}
