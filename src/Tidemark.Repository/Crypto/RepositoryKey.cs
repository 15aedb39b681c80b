using System.Security.Cryptography;

namespace Tidemark.Repository.Crypto;

/// <summary>
/// The three secrets of AES-256-CTR with Poly1305-AES (restic, doc/design.rst, "Keys, Encryption and MAC"): the
/// encryption key, and the two halves of the authentication key.
/// </summary>
internal sealed class RepositoryKey
{
    internal const int EncryptionLength = 32;
    internal const int MacLength = 16;

    /// <summary>The length of all three, in the order that the key derivation gives them.</summary>
    internal const int Length = EncryptionLength + 2 * MacLength;

    private RepositoryKey(ReadOnlySpan<byte> encryption, ReadOnlySpan<byte> macK, ReadOnlySpan<byte> macR)
    {
        Encryption = encryption.ToArray();
        MacK = macK.ToArray();
        MacR = macR.ToArray();
        Clamp(MacR);
    }

    /// <summary>The AES-256 key of the content.</summary>
    internal byte[] Encryption { get; }

    /// <summary>The AES-128 key that turns a nonce into Poly1305's second half.</summary>
    internal byte[] MacK { get; }

    /// <summary>Poly1305's first half, clamped.</summary>
    internal byte[] MacR { get; }

    /// <summary>A new random key.</summary>
    internal static RepositoryKey Generate() => FromBytes(RandomNumberGenerator.GetBytes(Length));

    /// <summary>Splits 64 bytes into the three secrets.</summary>
    internal static RepositoryKey FromBytes(ReadOnlySpan<byte> bytes) => new(
        bytes[..EncryptionLength],
        bytes.Slice(EncryptionLength, MacLength),
        bytes.Slice(EncryptionLength + MacLength, MacLength));

    /// <summary>Takes the three secrets, or null when one has the wrong length or is all zero.</summary>
    internal static RepositoryKey? TryCreate(byte[] encryption, byte[] macK, byte[] macR)
    {
        var fits = encryption.Length == EncryptionLength && macK.Length == MacLength && macR.Length == MacLength;
        return fits && NotZero(encryption) && NotZero(macK) && NotZero(macR)
            ? new RepositoryKey(encryption, macK, macR)
            : null;

        static bool NotZero(byte[] bytes) => bytes.AsSpan().ContainsAnyExcept((byte)0);
    }

    // Poly1305 clears 22 bits of r ("The Poly1305-AES message-authentication code", section 2).
    private static void Clamp(Span<byte> r)
    {
        r[3] &= 15;
        r[7] &= 15;
        r[11] &= 15;
        r[15] &= 15;
        r[4] &= 252;
        r[8] &= 252;
        r[12] &= 252;
    }
}
