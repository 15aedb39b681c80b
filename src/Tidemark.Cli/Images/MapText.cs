using System.Globalization;
using System.Text;
using Tidemark.Images.Mapping;

namespace Tidemark.Cli.Images;

/// <summary>Writes the entries of a map as lines of JSON, of which there can be millions: bytes go into one buffer that
/// is written when it is full, past the writer's own small one.</summary>
internal sealed class MapText(TextWriter output)
{
    private const int BufferLength = 64 * 1024;

    // Longer than any line: five numbers and the words between them.
    private const int LongestLine = 512;
    private const MapFlags Words = MapFlags.Present | MapFlags.Zero | MapFlags.Data | MapFlags.Compressed;

    private static readonly byte[][] s_words = [.. Enumerable.Range(0, (int)Words + 1).Select(Describe)];

    private readonly byte[] _buffer = new byte[BufferLength];

    // All is ASCII: the bytes that the writer would make of it.
    private readonly Stream? _stream = output is StreamWriter { Encoding: UTF8Encoding } writer
        ? writer.BaseStream
        : null;

    private int _used;
    private bool _hasLines;

    /// <summary>Appends an entry.</summary>
    public void Append(MapEntry entry)
    {
        if (_used > BufferLength - LongestLine)
        {
            Flush();
        }

        Append(_hasLines ? ",\n{ \"start\": "u8 : "{ \"start\": "u8);
        _hasLines = true;
        Append(entry.Start);
        Append(", \"length\": "u8);
        Append(entry.Length);
        Append(", \"depth\": "u8);
        Append(entry.Depth);
        Append(s_words[(int)(entry.Flags & Words)]);
        if (entry.Has(MapFlags.Offset))
        {
            Append(", \"offset\": "u8);
            Append(entry.Offset);
        }

        Append("}"u8);
    }

    /// <summary>Writes what is in the buffer.</summary>
    public void Flush()
    {
        var bytes = _buffer.AsSpan(0, _used);
        if (_stream is not null)
        {
            output.Flush();
            _stream.Write(bytes);
        }
        else
        {
            output.Write(Encoding.ASCII.GetString(bytes));
        }

        _used = 0;
    }

    private static byte[] Describe(int flags)
    {
        string Word(MapFlags flag) => ((MapFlags)flags & flag) != 0 ? "true" : "false";
        return Encoding.ASCII.GetBytes(
            $", \"present\": {Word(MapFlags.Present)}, \"zero\": {Word(MapFlags.Zero)}, "
            + $"\"data\": {Word(MapFlags.Data)}, \"compressed\": {Word(MapFlags.Compressed)}");
    }

    private void Append(ReadOnlySpan<byte> text)
    {
        text.CopyTo(_buffer.AsSpan(_used));
        _used += text.Length;
    }

    private void Append(long number)
    {
        number.TryFormat(_buffer.AsSpan(_used), out var length, default, CultureInfo.InvariantCulture);
        _used += length;
    }
}
