using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Options;

/// <summary>NBD_OPT_LIST_META_CONTEXT: the contexts that match a query, or all when there is none.</summary>
internal static class ListMetaContextOption
{
    internal static HandshakeStep Handle(ServerHandshake handshake, ReadOnlySpan<byte> data)
    {
        const NbdOption option = NbdOption.ListMetaContext;
        if (!handshake.StructuredReplies)
        {
            return handshake.Refuse(option, OptionReplyType.ErrorInvalid, "structured replies were not negotiated");
        }

        if (!MetaContextOption.TryParse(data, out var name, out var queries))
        {
            return handshake.Refuse(option, OptionReplyType.ErrorInvalid, "the queries make no sense");
        }

        if (handshake.Server.FindExport(name) is not { } export)
        {
            return handshake.Refuse(option, OptionReplyType.ErrorUnknown, $"there is no export '{name}'");
        }

        foreach (var context in export.Contexts)
        {
            if (queries.Count == 0 || queries.Exists(query => context.Matches(query, listing: true)))
            {
                MetaContextOption.Send(handshake, option, context, id: 0);
            }
        }

        return handshake.Acknowledge(option);
    }
}
