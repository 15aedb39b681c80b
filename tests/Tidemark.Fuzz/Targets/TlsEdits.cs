using System.Buffers.Binary;

namespace Tidemark.Fuzz.Targets;

/// <summary>
/// Changes what a TLS peer said, message by message: bytes of a record, its kind, its order; and puts the lengths of
/// record, handshake message and the list of extensions right again, mostly, so that what comes behind is still read.
/// </summary>
internal sealed class TlsEdits
{
    private const int HeaderLength = 5, MessageHeader = 4;
    private const byte Handshake = 22;

    private readonly List<byte[]> _records = [];

    private TlsEdits(ReadOnlySpan<byte> said)
    {
        while (said.Length >= HeaderLength)
        {
            var length = Math.Min(
                said.Length, HeaderLength + BinaryPrimitives.ReadUInt16BigEndian(said[(HeaderLength - 2)..]));
            _records.Add(said[..length].ToArray());
            said = said[length..];
        }
    }

    /// <summary>Applies the changes that an input decides.</summary>
    internal static byte[] Apply(ReadOnlySpan<byte> said, ReadOnlySpan<byte> decisions)
    {
        var edits = new TlsEdits(said);
        var input = new FuzzInput(decisions);
        while (!input.IsEmpty && edits._records.Count > 0)
        {
            edits.Step(ref input);
        }

        return [.. edits._records.SelectMany(record => record)];
    }

    private void Step(ref FuzzInput input)
    {
        var index = input.Choice(_records.Count);
        var record = _records[index];
        switch (input.Choice(10))
        {
            case 0:
                _records.RemoveAt(index);
                break;
            case 1 when _records.Count < 64:
                _records.Insert(input.Choice(_records.Count + 1), [.. record]);
                break;
            case 2:
                var other = input.Choice(_records.Count);
                (_records[index], _records[other]) = (_records[other], _records[index]);
                break;
            case 3 when record.Length >= HeaderLength:
                // Its kind, its version, or a length that lies.
                record[input.Choice(HeaderLength)] = input.Byte();
                break;
            case 4:
                _records[index] = record[..input.Choice(record.Length + 1)];
                break;
            case 5:
                Splice(index, ref input, removed: input.Choice(16), added: 0);
                break;
            case 6:
                Splice(index, ref input, removed: 0, added: input.Choice(64));
                break;
            case 7:
                Extend(index, ref input);
                break;
            default:
                Splice(index, ref input, removed: 1, added: 1);
                break;
        }
    }

    // Other bytes at a place of the body.
    private void Splice(int index, ref FuzzInput input, int removed, int added)
    {
        var record = _records[index];
        if (record.Length <= HeaderLength)
        {
            return;
        }

        var at = HeaderLength + input.Choice(record.Length - HeaderLength);
        removed = Math.Min(removed, record.Length - at);
        _records[index] = [.. record[..at], .. input.Take(added), .. record[(at + removed)..]];
        Mend(index);
    }

    // One more extension behind those of a hello.
    private void Extend(int index, ref FuzzInput input)
    {
        var record = _records[index];
        if (record.Length < HeaderLength + MessageHeader || record[0] != Handshake
            || FindExtensions(record) is not { } at)
        {
            return;
        }

        var data = input.Take(input.Choice(48)).ToArray();
        byte[] extension = [0, (byte)input.Choice(64), 0, (byte)data.Length, .. data];
        _records[index] = [.. record, .. extension];
        BinaryPrimitives.WriteUInt16BigEndian(
            _records[index].AsSpan(at), (ushort)(_records[index].Length - at - 2));
        Mend(index);
    }

    // Where the list's length stands: behind version, random, session, suites and compressions of a hello.
    private static int? FindExtensions(ReadOnlySpan<byte> record)
    {
        var isClient = record[HeaderLength] == 1;
        var at = HeaderLength + MessageHeader + 2 + 32;
        if ((!isClient && record[HeaderLength] != 2) || at >= record.Length)
        {
            return null;
        }

        at += 1 + record[at];
        if (!isClient)
        {
            at += 3;
        }
        else if (at + 2 < record.Length)
        {
            at += 2 + BinaryPrimitives.ReadUInt16BigEndian(record[at..]);
            at += at < record.Length ? 1 + record[at] : 1;
        }

        return at + 2 <= record.Length ? at : null;
    }

    private void Mend(int index)
    {
        var record = _records[index];
        var length = record.Length - HeaderLength;
        BinaryPrimitives.WriteUInt16BigEndian(record.AsSpan(HeaderLength - 2), (ushort)length);
        if (record[0] == Handshake && length >= MessageHeader && record[HeaderLength] is > 0 and <= 20)
        {
            // A record of one message: so the peers send them.
            record[HeaderLength + 1] = 0;
            BinaryPrimitives.WriteUInt16BigEndian(record.AsSpan(HeaderLength + 2), (ushort)(length - MessageHeader));
        }
    }
}
