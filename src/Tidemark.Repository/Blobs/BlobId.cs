using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Tidemark.Repository.Blobs;

/// <summary>
/// A SHA-256 digest as a name: of a blob's plaintext, or of a stored file (restic calls both a storage ID;
/// doc/design.rst, "Terminology").
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public readonly struct BlobId : IEquatable<BlobId>, IComparable<BlobId>
{
    /// <summary>The length of a digest in bytes.</summary>
    public const int Length = 32;

    /// <summary>The length of a digest in hexadecimal digits.</summary>
    public const int TextLength = 2 * Length;

    private static readonly SearchValues<char> s_digits = SearchValues.Create("0123456789abcdef");

    // The digest's bytes as four big-endian numbers, so that numbers compare as the text does.
    private readonly ulong _first;
    private readonly ulong _second;
    private readonly ulong _third;
    private readonly ulong _fourth;

    /// <summary>Takes the first 32 bytes of <paramref name="bytes"/> as a digest.</summary>
    public BlobId(ReadOnlySpan<byte> bytes)
    {
        _first = BinaryPrimitives.ReadUInt64BigEndian(bytes);
        _second = BinaryPrimitives.ReadUInt64BigEndian(bytes[8..]);
        _third = BinaryPrimitives.ReadUInt64BigEndian(bytes[16..]);
        _fourth = BinaryPrimitives.ReadUInt64BigEndian(bytes[24..]);
    }

    /// <summary>Whether all bytes are zero: no digest that is ever used.</summary>
    public bool IsEmpty => (_first | _second | _third | _fourth) == 0;

    /// <summary>A well-mixed number, because a digest's bits are.</summary>
    internal ulong Hash => _first;

    /// <summary>Whether the two are the same.</summary>
    public static bool operator ==(BlobId left, BlobId right) => left.Equals(right);

    /// <summary>Whether the two differ.</summary>
    public static bool operator !=(BlobId left, BlobId right) => !left.Equals(right);

    /// <summary>Whether the left one sorts first.</summary>
    public static bool operator <(BlobId left, BlobId right) => left.CompareTo(right) < 0;

    /// <summary>Whether the right one sorts first.</summary>
    public static bool operator >(BlobId left, BlobId right) => left.CompareTo(right) > 0;

    /// <summary>Whether the left one does not sort after the right one.</summary>
    public static bool operator <=(BlobId left, BlobId right) => left.CompareTo(right) <= 0;

    /// <summary>Whether the right one does not sort after the left one.</summary>
    public static bool operator >=(BlobId left, BlobId right) => left.CompareTo(right) >= 0;

    /// <summary>The digest of some bytes.</summary>
    public static BlobId Of(ReadOnlySpan<byte> content)
    {
        Span<byte> digest = stackalloc byte[Length];
        SHA256.HashData(content, digest);
        return new BlobId(digest);
    }

    /// <summary>Reads 64 hexadecimal digits.</summary>
    public static bool TryParse(ReadOnlySpan<char> text, out BlobId id)
    {
        Span<byte> bytes = stackalloc byte[Length];
        var whole = text.Length == TextLength
            && Convert.FromHexString(text, bytes, out _, out _) == OperationStatus.Done;
        id = whole ? new BlobId(bytes) : default;
        return whole;
    }

    /// <summary>Reads 64 hexadecimal digits in UTF-8.</summary>
    public static bool TryParse(ReadOnlySpan<byte> text, out BlobId id)
    {
        Span<byte> bytes = stackalloc byte[Length];
        var whole = text.Length == TextLength
            && Convert.FromHexString(text, bytes, out _, out _) == OperationStatus.Done;
        id = whole ? new BlobId(bytes) : default;
        return whole;
    }

    /// <summary>Reads 64 hexadecimal digits.</summary>
    /// <exception cref="FormatException">The text is something else.</exception>
    public static BlobId Parse(string text) =>
        TryParse(text.AsSpan(), out var id) ? id : throw new FormatException($"'{text}' is no SHA-256 digest");

    /// <summary>Whether a text has only lower-case hexadecimal digits.</summary>
    internal static bool HasOnlyDigits(ReadOnlySpan<char> text) => !text.ContainsAnyExcept(s_digits);

    /// <summary>Writes the 32 bytes of the digest.</summary>
    public void WriteTo(Span<byte> target)
    {
        BinaryPrimitives.WriteUInt64BigEndian(target, _first);
        BinaryPrimitives.WriteUInt64BigEndian(target[8..], _second);
        BinaryPrimitives.WriteUInt64BigEndian(target[16..], _third);
        BinaryPrimitives.WriteUInt64BigEndian(target[24..], _fourth);
    }

    /// <summary>Writes the 64 lower-case hexadecimal digits in UTF-8.</summary>
    public void WriteTextTo(Span<byte> target)
    {
        Span<byte> bytes = stackalloc byte[Length];
        WriteTo(bytes);
        Convert.TryToHexStringLower(bytes, target, out _);
    }

    /// <summary>The first eight digits, as restic prints ids for people.</summary>
    public string ToShortString() => ToString()[..8];

    /// <summary>The 64 lower-case hexadecimal digits.</summary>
    public override string ToString()
    {
        Span<byte> bytes = stackalloc byte[Length];
        WriteTo(bytes);
        return Convert.ToHexStringLower(bytes);
    }

    /// <inheritdoc/>
    public bool Equals(BlobId other) =>
        _first == other._first && _second == other._second && _third == other._third && _fourth == other._fourth;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is BlobId other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => _first.GetHashCode();

    /// <inheritdoc/>
    public int CompareTo(BlobId other)
    {
        var order = _first.CompareTo(other._first);
        order = order != 0 ? order : _second.CompareTo(other._second);
        order = order != 0 ? order : _third.CompareTo(other._third);
        return order != 0 ? order : _fourth.CompareTo(other._fourth);
    }
}
