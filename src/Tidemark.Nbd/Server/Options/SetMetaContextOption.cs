using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Options;

/// <summary>NBD_OPT_SET_META_CONTEXT: selects contexts; whatever was
/// selected before is forgotten, failure or not.</summary>
internal static class SetMetaContextOption
{
    internal static HandshakeStep Handle(ServerHandshake handshake, ReadOnlySpan<byte> data)
    {
        const NbdOption option = NbdOption.SetMetaContext;
        handshake.Select(null, []);
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

        List<ExportContext> selected = [];
        foreach (var context in export.Contexts)
        {
            if (queries.Exists(query => context.Matches(query, listing: false)))
            {
                MetaContextOption.Send(handshake, option, context, context.Id);
                selected.Add(context);
            }
        }

        handshake.Select(export, selected);
        return handshake.Acknowledge(option);
    }
}
