using System.Buffers.Binary;
using System.Text;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

/// <summary>
/// The client's side of the handshake: greeting, structured replies, metadata contexts, and GO with the block sizes;
/// EXPORT_NAME where the server is older. Every length is checked before anything is read.
/// </summary>
/// <remarks>Blocking; runs on the connection's own thread.</remarks>
internal sealed class ClientHandshake
{
    private const int PaddingLength = 124;

    private readonly NbdTransport _transport;
    private readonly ReceiveBuffer _receiver;
    private bool _fixedNewstyle;
    private bool _noZeroes;

    internal ClientHandshake(NbdTransport transport, ReceiveBuffer receiver)
    {
        _transport = transport;
        _receiver = receiver;
    }

    /// <summary>Reads the greeting and answers it.</summary>
    internal void Greet()
    {
        if (_receiver.TakeUInt64() != NbdMagic.Greeting)
        {
            throw NbdException.Protocol("it does not greet as an NBD server does");
        }

        switch (_receiver.TakeUInt64())
        {
            case NbdMagic.Option:
                break;
            case NbdMagic.OldStyle:
                throw new NbdException(
                    BlockErrorKind.NotSupported, "the server speaks oldstyle NBD, which is not supported");
            default:
                throw NbdException.Protocol("its greeting is of an unknown kind");
        }

        var offered = (HandshakeFlags)_receiver.TakeUInt16();
        _fixedNewstyle = (offered & HandshakeFlags.FixedNewstyle) != 0;
        _noZeroes = (offered & HandshakeFlags.NoZeroes) != 0;
        Span<byte> flags = stackalloc byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(
            flags, (uint)(offered & (HandshakeFlags.FixedNewstyle | HandshakeFlags.NoZeroes)));
        _transport.Send(flags, default);
    }

    /// <summary>Chooses the export and enters the transmission phase.</summary>
    internal NegotiatedExport Enter(string exportName, IReadOnlyList<string> contexts)
    {
        if (!_fixedNewstyle)
        {
            return EnterByName(exportName, structuredReplies: false, new Dictionary<string, uint>());
        }

        var structured = AskStructuredReplies();
        var selected = structured && contexts.Count > 0
            ? SelectContexts(exportName, contexts)
            : new Dictionary<string, uint>();
        return TryGo(exportName, structured, selected) ?? EnterByName(exportName, structured, selected);
    }

    /// <summary>The server's exports.</summary>
    internal IReadOnlyList<NbdExportInfo> List()
    {
        List<NbdExportInfo> exports = [];
        Ask(NbdOption.List, [], reply =>
        {
            if (reply.Type != OptionReplyType.Server || reply.Data.Length < 4)
            {
                throw NbdException.Protocol($"{reply.Type} in answer to LIST");
            }

            var length = BinaryPrimitives.ReadUInt32BigEndian(reply.Data);
            if (length > reply.Data.Length - 4)
            {
                throw NbdException.Protocol("an export's name in LIST is longer than its reply");
            }

            exports.Add(new NbdExportInfo(
                Encoding.UTF8.GetString(reply.Data, 4, (int)length),
                Encoding.UTF8.GetString(reply.Data.AsSpan(4 + (int)length))));
        });
        return exports;
    }

    /// <summary>Ends politely.</summary>
    internal void Abort()
    {
        if (_fixedNewstyle)
        {
            SendOption(NbdOption.Abort, []);
        }
    }

    private bool AskStructuredReplies()
    {
        var final = Send(NbdOption.StructuredReply, [], static reply =>
            throw NbdException.Protocol($"{reply.Type} in answer to STRUCTURED_REPLY"));
        return !final.IsError;
    }

    private Dictionary<string, uint> SelectContexts(string exportName, IReadOnlyList<string> contexts)
    {
        var name = Encoding.UTF8.GetBytes(exportName);
        var queries = contexts.Select(Encoding.UTF8.GetBytes).ToList();
        var data = new byte[8 + name.Length + queries.Sum(query => 4 + query.Length)];
        var position = PutString(data, 0, name);
        BinaryPrimitives.WriteInt32BigEndian(data.AsSpan(position), queries.Count);
        position += 4;
        foreach (var query in queries)
        {
            position = PutString(data, position, query);
        }

        Dictionary<string, uint> selected = new(StringComparer.Ordinal);
        var final = Send(NbdOption.SetMetaContext, data, reply =>
        {
            if (reply.Type != OptionReplyType.MetaContext || reply.Data.Length < 4)
            {
                throw NbdException.Protocol($"{reply.Type} in answer to SET_META_CONTEXT");
            }

            var context = Encoding.UTF8.GetString(reply.Data.AsSpan(4));
            var id = BinaryPrimitives.ReadUInt32BigEndian(reply.Data);
            if (selected.ContainsValue(id) || !contexts.Contains(context) || !selected.TryAdd(context, id))
            {
                throw NbdException.Protocol(
                    $"it selected the context '{context}' ({id}) twice, or without being asked");
            }
        });
        if (final.IsError)
        {
            // Without contexts the export can still be read; what needs them says so when it is asked for.
            selected.Clear();
        }

        return selected;
    }

    private NegotiatedExport? TryGo(string exportName, bool structured, IReadOnlyDictionary<string, uint> contexts)
    {
        var name = Encoding.UTF8.GetBytes(exportName);
        var data = new byte[4 + name.Length + 6];
        var position = PutString(data, 0, name);
        BinaryPrimitives.WriteUInt16BigEndian(data.AsSpan(position), 2);
        BinaryPrimitives.WriteUInt16BigEndian(data.AsSpan(position + 2), (ushort)NbdInfo.BlockSize);
        BinaryPrimitives.WriteUInt16BigEndian(data.AsSpan(position + 4), (ushort)NbdInfo.Description);

        NegotiatedExport? export = null;
        NegotiatedExport sizes = new() { Length = 0, Flags = 0 };
        var description = "";
        var final = Send(NbdOption.Go, data, reply =>
        {
            if (reply.Type != OptionReplyType.Info || reply.Data.Length < 2)
            {
                throw NbdException.Protocol($"{reply.Type} in answer to GO");
            }

            var body = reply.Data.AsSpan(2);
            switch ((NbdInfo)BinaryPrimitives.ReadUInt16BigEndian(reply.Data))
            {
                case NbdInfo.Export:
                    export = ReadExport(body);
                    break;
                case NbdInfo.BlockSize:
                    sizes = ReadBlockSizes(body);
                    break;
                case NbdInfo.Description:
                    description = Encoding.UTF8.GetString(body);
                    break;
            }
        });
        if (final.Type == OptionReplyType.ErrorUnsupported)
        {
            return null;
        }

        if (final.IsError)
        {
            throw Refused(exportName, final);
        }

        if (export is null)
        {
            throw NbdException.Protocol("it let us into the export without saying how large it is");
        }

        return Checked(export with
        {
            StructuredReplies = structured,
            Contexts = contexts,
            Description = description,
            MinimumBlockSize = sizes.MinimumBlockSize,
            PreferredBlockSize = sizes.PreferredBlockSize,
            MaximumPayload = sizes.MaximumPayload,
        });
    }

    private NegotiatedExport EnterByName(
        string exportName, bool structuredReplies, IReadOnlyDictionary<string, uint> contexts)
    {
        SendOption(NbdOption.ExportName, Encoding.UTF8.GetBytes(exportName));
        if (!_receiver.TryFill(1))
        {
            throw new NbdException(
                BlockErrorKind.NotFound, $"the server has no export '{exportName}', or does not give it to us");
        }

        var export = ReadExport(_receiver.Take(10));
        if (!_noZeroes)
        {
            _receiver.Skip(PaddingLength);
        }

        return Checked(export with { StructuredReplies = structuredReplies, Contexts = contexts });
    }

    private static NegotiatedExport ReadExport(ReadOnlySpan<byte> body)
    {
        if (body.Length != 10)
        {
            throw NbdException.Protocol($"the description of the export has {body.Length} bytes, not 10");
        }

        var length = BinaryPrimitives.ReadUInt64BigEndian(body);
        if (length > long.MaxValue)
        {
            throw NbdException.Protocol($"the export's length {length} is over 2^63");
        }

        return new NegotiatedExport
        {
            Length = (long)length,
            Flags = (NbdTransmissionFlags)BinaryPrimitives.ReadUInt16BigEndian(body[8..]),
        };
    }

    private static NegotiatedExport ReadBlockSizes(ReadOnlySpan<byte> body)
    {
        if (body.Length != 12)
        {
            throw NbdException.Protocol($"the block sizes have {body.Length} bytes, not 12");
        }

        var minimum = BinaryPrimitives.ReadUInt32BigEndian(body);
        var preferred = BinaryPrimitives.ReadUInt32BigEndian(body[4..]);
        var maximum = BinaryPrimitives.ReadUInt32BigEndian(body[8..]);
        if (!uint.IsPow2(minimum) || minimum > NbdLimits.MaximumMinimumBlockSize
            || !uint.IsPow2(preferred) || preferred < minimum || maximum < minimum)
        {
            throw NbdException.Protocol($"block sizes {minimum}, {preferred}, {maximum} are not possible");
        }

        var usable = Math.Min(maximum, NbdLimits.MaximumPayload);
        return new NegotiatedExport
        {
            Length = 0,
            Flags = 0,
            MinimumBlockSize = (int)minimum,
            PreferredBlockSize = (int)Math.Min(preferred, 1u << 30),
            MaximumPayload = (int)(usable - (usable % minimum)),
        };
    }

    private static NegotiatedExport Checked(NegotiatedExport export) =>
        export.Length % export.MinimumBlockSize == 0
            ? export
            : throw new NbdException(
                BlockErrorKind.NotSupported,
                $"the export's length {export.Length} is no multiple of its minimum block "
                + $"size {export.MinimumBlockSize}");

    private static NbdException Refused(string exportName, OptionReply final)
    {
        var kind = final.Type switch
        {
            OptionReplyType.ErrorUnknown => BlockErrorKind.NotFound,
            OptionReplyType.ErrorTlsRequired => BlockErrorKind.NotSupported,
            OptionReplyType.ErrorShutdown => BlockErrorKind.Io,
            _ => BlockErrorKind.Invalid,
        };
        var hint = final.Type == OptionReplyType.ErrorTlsRequired ? "; TLS is not supported yet" : "";
        return new NbdException(kind, $"the server refuses the export '{exportName}': {final.Message}{hint}");
    }

    private static int PutString(byte[] target, int position, byte[] text)
    {
        BinaryPrimitives.WriteInt32BigEndian(target.AsSpan(position), text.Length);
        text.CopyTo(target, position + 4);
        return position + 4 + text.Length;
    }

    private void Ask(NbdOption option, byte[] data, Action<OptionReply> each)
    {
        var final = Send(option, data, each);
        if (final.IsError)
        {
            throw new NbdException(BlockErrorKind.NotSupported, $"the server refuses {option}: {final.Message}");
        }
    }

    // Sends an option and reads its replies up to the final one, which is returned.
    private OptionReply Send(NbdOption option, byte[] data, Action<OptionReply> each)
    {
        SendOption(option, data);
        for (var count = 0; count < NbdLimits.MaximumOptionReplies; count++)
        {
            if (!OptionReplyHeader.TryRead(_receiver.Take(OptionReplyHeader.Size), out var header))
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
            _receiver.CopyTo(body);
            var reply = new OptionReply(header.Type, body);
            if (reply.IsError || reply.Type == OptionReplyType.Ack)
            {
                return reply;
            }

            each(reply);
        }

        throw NbdException.Protocol($"it sends more than {NbdLimits.MaximumOptionReplies} replies to {option}");
    }

    private void SendOption(NbdOption option, byte[] data)
    {
        Span<byte> header = stackalloc byte[OptionHeader.Size];
        new OptionHeader(option, (uint)data.Length).Write(header);
        _transport.Send(header, data);
    }
}
