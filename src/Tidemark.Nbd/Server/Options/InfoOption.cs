using System.Buffers.Binary;
using System.Text;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Options;

/// <summary>NBD_OPT_INFO and NBD_OPT_GO: the same question; GO also enters the transmission phase.</summary>
internal static class InfoOption
{
    internal static HandshakeStep Handle(ServerHandshake handshake, NbdOption option, ReadOnlySpan<byte> data)
    {
        var reader = new OptionReader(data);
        if (!reader.TryString(out var name) || !reader.TryUInt16(out var count))
        {
            return handshake.Refuse(option, OptionReplyType.ErrorInvalid, "the export's name or length makes no sense");
        }

        bool wantsName = false, wantsDescription = false, wantsBlockSize = false;
        for (var index = 0; index < count; index++)
        {
            if (!reader.TryUInt16(out var wanted))
            {
                return handshake.Refuse(
                    option, OptionReplyType.ErrorInvalid, "the list of information requests is cut off");
            }

            wantsName |= wanted == (ushort)NbdInfo.Name;
            wantsDescription |= wanted == (ushort)NbdInfo.Description;
            wantsBlockSize |= wanted == (ushort)NbdInfo.BlockSize;
        }

        if (!reader.IsAtEnd)
        {
            return handshake.Refuse(
                option, OptionReplyType.ErrorInvalid, "there is data after the information requests");
        }

        if (handshake.Server.FindExport(name) is not { } export)
        {
            return handshake.Refuse(option, OptionReplyType.ErrorUnknown, $"there is no export '{name}'");
        }

        if (wantsName)
        {
            SendText(handshake, option, NbdInfo.Name, export.Name);
        }

        if (wantsDescription && export.Options.Description.Length > 0)
        {
            SendText(handshake, option, NbdInfo.Description, export.Options.Description);
        }

        var needsBlockSize = export.MinimumBlockSize > 1;
        if (wantsBlockSize || needsBlockSize)
        {
            SendBlockSize(handshake, option, export);
        }

        // An unaligned request would be refused: a client that has not promised to align may not come in.
        if (needsBlockSize && !wantsBlockSize)
        {
            return handshake.Refuse(
                option,
                OptionReplyType.ErrorBlockSizeRequired,
                $"requests must be multiples of {export.MinimumBlockSize}: ask for NBD_INFO_BLOCK_SIZE");
        }

        if (option == NbdOption.Go && !handshake.TryChoose(export))
        {
            return handshake.Refuse(option, OptionReplyType.ErrorShutdown, $"export '{name}' is being removed");
        }

        SendExport(handshake, option, export);
        handshake.Acknowledge(option);
        return option == NbdOption.Go ? HandshakeStep.Transmission : HandshakeStep.NextOption;
    }

    private static void SendExport(ServerHandshake handshake, NbdOption option, NbdExport export)
    {
        Span<byte> reply = stackalloc byte[12];
        BinaryPrimitives.WriteUInt16BigEndian(reply, (ushort)NbdInfo.Export);
        BinaryPrimitives.WriteInt64BigEndian(reply[2..], export.Backend.Length);
        BinaryPrimitives.WriteUInt16BigEndian(reply[10..], (ushort)handshake.FlagsOf(export));
        handshake.Reply(option, OptionReplyType.Info, reply);
    }

    private static void SendBlockSize(ServerHandshake handshake, NbdOption option, NbdExport export)
    {
        Span<byte> reply = stackalloc byte[14];
        BinaryPrimitives.WriteUInt16BigEndian(reply, (ushort)NbdInfo.BlockSize);
        BinaryPrimitives.WriteInt32BigEndian(reply[2..], export.MinimumBlockSize);
        BinaryPrimitives.WriteInt32BigEndian(reply[6..], export.PreferredBlockSize);
        BinaryPrimitives.WriteInt32BigEndian(reply[10..], export.MaximumPayload);
        handshake.Reply(option, OptionReplyType.Info, reply);
    }

    private static void SendText(ServerHandshake handshake, NbdOption option, NbdInfo info, string text)
    {
        var reply = new byte[2 + Encoding.UTF8.GetByteCount(text)];
        BinaryPrimitives.WriteUInt16BigEndian(reply, (ushort)info);
        Encoding.UTF8.GetBytes(text, reply.AsSpan(2));
        handshake.Reply(option, OptionReplyType.Info, reply);
    }
}
