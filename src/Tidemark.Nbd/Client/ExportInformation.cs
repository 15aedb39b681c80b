using System.Buffers.Binary;
using System.Text;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

/// <summary>Gathers the information items of INFO and GO, in any order, and checks them ("NBD_REP_INFO").</summary>
internal sealed class ExportInformation(bool structured, bool extended)
{
    /// <summary>The length of an export's size and flags.</summary>
    internal const int ExportLength = 10;

    private const int BlockSizeLength = 12;

    private long? _length;
    private NbdTransmissionFlags _flags;
    private string _description = "";
    private bool _hasBlockSizes;
    private uint _minimum = 1;
    private uint _preferred = 4096;
    private uint _maximum = NbdLimits.MaximumPayload;

    internal void Add(NbdOption option, OptionReply reply)
    {
        if (reply.Type != OptionReplyType.Info || reply.Data.Length < 2)
        {
            throw NbdException.Protocol($"{reply.Type} in answer to {option}");
        }

        var body = reply.Data.AsSpan(2);
        switch ((NbdInfo)BinaryPrimitives.ReadUInt16BigEndian(reply.Data))
        {
            case NbdInfo.Export:
                AddExport(body);
                break;
            case NbdInfo.BlockSize:
                AddBlockSizes(body);
                break;
            case NbdInfo.Description:
                _description = Encoding.UTF8.GetString(body);
                break;
        }
    }

    internal void AddExport(ReadOnlySpan<byte> body)
    {
        if (body.Length != ExportLength)
        {
            throw NbdException.Protocol($"the description of the export has {body.Length} bytes, not {ExportLength}");
        }

        var length = BinaryPrimitives.ReadUInt64BigEndian(body);
        if (length > long.MaxValue)
        {
            throw NbdException.Protocol($"the export's length {length} is over 2^63");
        }

        _length = (long)length;
        _flags = (NbdTransmissionFlags)BinaryPrimitives.ReadUInt16BigEndian(body[8..]);
    }

    /// <summary>The server has accepted: was everything said that must be?</summary>
    internal void Check()
    {
        if (_length is null)
        {
            throw NbdException.Protocol("it accepts the export without saying how large it is");
        }
    }

    internal NegotiatedExport ToExport(IReadOnlyDictionary<string, uint> contexts)
    {
        if (_length!.Value % _minimum != 0)
        {
            throw new NbdException(
                BlockErrorKind.NotSupported,
                $"the export's length {_length} is no multiple of its minimum block size {_minimum}");
        }

        var usable = Math.Min(_maximum, NbdLimits.MaximumPayload);
        return new NegotiatedExport
        {
            Length = _length.Value,
            Flags = _flags,
            StructuredReplies = structured,
            ExtendedHeaders = extended,
            Description = _description,
            Contexts = contexts,
            MinimumBlockSize = (int)_minimum,
            PreferredBlockSize = (int)Math.Min(_preferred, 1u << 30),
            MaximumPayload = (int)(usable - (usable % _minimum)),
        };
    }

    internal NbdExportDescription ToDescription(NbdExportInfo entry, IReadOnlyList<string> contexts) => new()
    {
        Name = entry.Name,
        Description = _description.Length > 0 ? _description : entry.Description,
        Length = _length!.Value,
        Flags = _flags,
        HasBlockSizes = _hasBlockSizes,
        MinimumBlockSize = (int)_minimum,
        PreferredBlockSize = (int)Math.Min(_preferred, 1u << 30),
        MaximumBlockSize = _maximum,
        MetaContexts = contexts,
    };

    private void AddBlockSizes(ReadOnlySpan<byte> body)
    {
        if (body.Length != BlockSizeLength)
        {
            throw NbdException.Protocol($"the block sizes have {body.Length} bytes, not {BlockSizeLength}");
        }

        _minimum = BinaryPrimitives.ReadUInt32BigEndian(body);
        _preferred = BinaryPrimitives.ReadUInt32BigEndian(body[4..]);
        _maximum = BinaryPrimitives.ReadUInt32BigEndian(body[8..]);
        _hasBlockSizes = true;
        if (!uint.IsPow2(_minimum) || _minimum > NbdLimits.MaximumMinimumBlockSize
            || !uint.IsPow2(_preferred) || _preferred < _minimum || _maximum < _minimum)
        {
            throw NbdException.Protocol($"block sizes {_minimum}, {_preferred}, {_maximum} are not possible");
        }
    }
}
