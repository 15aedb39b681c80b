using System.Buffers.Binary;
using System.Text;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server.Options;

/// <summary>Takes fields from the data of an option; every length is checked against what is there.</summary>
internal ref struct OptionReader(ReadOnlySpan<byte> data)
{
    private static readonly UTF8Encoding s_strictUtf8 = new(false, throwOnInvalidBytes: true);

    private ReadOnlySpan<byte> _rest = data;

    /// <summary>Whether everything was taken.</summary>
    internal readonly bool IsAtEnd => _rest.IsEmpty;

    internal bool TryUInt16(out ushort value)
    {
        if (!BinaryPrimitives.TryReadUInt16BigEndian(_rest, out value))
        {
            return false;
        }

        _rest = _rest[2..];
        return true;
    }

    internal bool TryUInt32(out uint value)
    {
        if (!BinaryPrimitives.TryReadUInt32BigEndian(_rest, out value))
        {
            return false;
        }

        _rest = _rest[4..];
        return true;
    }

    /// <summary>A 32-bit length and a string of that many bytes.</summary>
    internal bool TryString(out string text)
    {
        text = "";
        if (!TryUInt32(out var length) || length > _rest.Length || length > NbdLimits.MaximumStringLength)
        {
            return false;
        }

        var found = TryDecode(_rest[..(int)length], out text);
        _rest = _rest[(int)length..];
        return found;
    }

    /// <summary>A string of the protocol: UTF-8, no NUL, up to 4096 bytes ("Conventions").</summary>
    internal static bool TryDecode(ReadOnlySpan<byte> data, out string text)
    {
        text = "";
        if (data.Length > NbdLimits.MaximumStringLength || data.Contains((byte)0))
        {
            return false;
        }

        try
        {
            text = s_strictUtf8.GetString(data);
            return true;
        }
        catch (ArgumentException)
        {
            return false;
        }
    }
}
