using System.Globalization;
using Tidemark.Images.Mapping;

namespace Tidemark.Cli.Images;

/// <summary>Writes the entries of a map as lines of JSON, of which there can be millions: characters go into one buffer
/// that is written when it is full.</summary>
internal sealed class MapText(TextWriter output)
{
    private const int BufferLength = 64 * 1024;

    // Longer than any line: five numbers and the words between them.
    private const int LongestLine = 512;
    private const MapFlags Words = MapFlags.Present | MapFlags.Zero | MapFlags.Data | MapFlags.Compressed;

    private static readonly string[] s_words = [.. Enumerable.Range(0, (int)Words + 1).Select(Describe)];

    private readonly char[] _buffer = new char[BufferLength];
    private int _used;
    private bool _hasLines;

    /// <summary>Appends an entry.</summary>
    public void Append(MapEntry entry)
    {
        if (_used > BufferLength - LongestLine)
        {
            Flush();
        }

        Append(_hasLines ? ",\n{ \"start\": " : "{ \"start\": ");
        _hasLines = true;
        Append(entry.Start);
        Append(", \"length\": ");
        Append(entry.Length);
        Append(", \"depth\": ");
        Append(entry.Depth);
        Append(s_words[(int)(entry.Flags & Words)]);
        if (entry.Has(MapFlags.Offset))
        {
            Append(", \"offset\": ");
            Append(entry.Offset);
        }

        Append("}");
    }

    /// <summary>Writes what is in the buffer.</summary>
    public void Flush()
    {
        output.Write(_buffer.AsSpan(0, _used));
        _used = 0;
    }

    private static string Describe(int flags)
    {
        string Word(MapFlags flag) => ((MapFlags)flags & flag) != 0 ? "true" : "false";
        return $", \"present\": {Word(MapFlags.Present)}, \"zero\": {Word(MapFlags.Zero)}, "
            + $"\"data\": {Word(MapFlags.Data)}, \"compressed\": {Word(MapFlags.Compressed)}";
    }

    private void Append(string text)
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
