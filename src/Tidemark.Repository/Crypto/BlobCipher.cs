using System.Buffers.Binary;
using System.Numerics;
using System.Security.Cryptography;
using Org.BouncyCastle.Crypto.Macs;
using Org.BouncyCastle.Crypto.Parameters;

namespace Tidemark.Repository.Crypto;

// A sealed message is NONCE (16) || CIPHERTEXT || TAG (16). The ciphertext is AES-256 in counter mode, the nonce being
// the first counter block, counted up as one big-endian number of 128 bits. The tag is Poly1305 over the ciphertext,
// with r from the key and s = AES-128(k, nonce). (restic, doc/design.rst, "Keys, Encryption and MAC".)
//
// The runtime has AES but no counter mode: blocks of counters are encrypted as ECB, 32 KiB at a time, and XORed with
// vectors. The key stream and the XOR then cost less than Poly1305 does.

/// <summary>Seals and opens messages with one key. For one thread at a time; see <see
/// cref="Blobs.BlobCodecPool"/>.</summary>
internal sealed class BlobCipher : IDisposable
{
    internal const int NonceLength = 16;
    internal const int TagLength = 16;

    /// <summary>How many bytes longer a sealed message is.</summary>
    internal const int Overhead = NonceLength + TagLength;

    private const int BlockLength = 16;
    private const int KeyStreamLength = 32 << 10;

    private readonly Aes _content;
    private readonly Aes _nonces;
    private readonly ICryptoTransform _encryptor;
    private readonly Poly1305 _poly = new();
    private readonly byte[] _polyKey = new byte[2 * RepositoryKey.MacLength];
    private readonly byte[] _keyStream = new byte[KeyStreamLength];

    internal BlobCipher(RepositoryKey key)
    {
        _content = CreateAes(key.Encryption);
        _nonces = CreateAes(key.MacK);
        _encryptor = _content.CreateEncryptor();
        key.MacR.CopyTo(_polyKey, 0);
    }

    /// <summary>Seals <paramref name="plaintext"/> under a fresh random nonce.</summary>
    /// <param name="plaintext">The message; must not overlap the target.</param>
    /// <param name="target">Exactly <see cref="Overhead"/> bytes longer than the message.</param>
    internal void Seal(ReadOnlySpan<byte> plaintext, Span<byte> target)
    {
        RandomNumberGenerator.Fill(target[..NonceLength]);
        SealWithNonce(plaintext, target);
    }

    /// <summary>Seals under the nonce that already stands in <paramref name="target"/>. Only for known
    /// answers.</summary>
    internal void SealWithNonce(ReadOnlySpan<byte> plaintext, Span<byte> target)
    {
        if (target.Length != plaintext.Length + Overhead)
        {
            throw new ArgumentException(
                $"the target has {target.Length} bytes, {plaintext.Length + Overhead} are needed");
        }

        var nonce = target[..NonceLength];
        var ciphertext = target.Slice(NonceLength, plaintext.Length);
        ApplyKeyStream(nonce, plaintext, ciphertext);
        ComputeTag(nonce, ciphertext, target[(NonceLength + plaintext.Length)..]);
    }

    /// <summary>
    /// Opens a sealed message. False, and nothing written, when it is too short or its tag is wrong: it was changed, or
    /// sealed with another key.
    /// </summary>
    /// <param name="message">The sealed message.</param>
    /// <param name="plaintext">Exactly <see cref="Overhead"/> bytes shorter; may be the ciphertext's own
    /// memory.</param>
    internal bool TryOpen(ReadOnlySpan<byte> message, Span<byte> plaintext)
    {
        if (message.Length < Overhead || plaintext.Length != message.Length - Overhead)
        {
            return false;
        }

        var nonce = message[..NonceLength];
        var ciphertext = message[NonceLength..^TagLength];
        Span<byte> tag = stackalloc byte[TagLength];
        ComputeTag(nonce, ciphertext, tag);
        if (!CryptographicOperations.FixedTimeEquals(tag, message[^TagLength..]))
        {
            return false;
        }

        ApplyKeyStream(nonce, ciphertext, plaintext);
        return true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _encryptor.Dispose();
        _content.Dispose();
        _nonces.Dispose();
        CryptographicOperations.ZeroMemory(_polyKey);
        CryptographicOperations.ZeroMemory(_keyStream);
    }

    private static Aes CreateAes(byte[] key)
    {
        var aes = Aes.Create();
        aes.Mode = CipherMode.ECB;
        aes.Padding = PaddingMode.None;
        aes.Key = key;
        return aes;
    }

    private void ApplyKeyStream(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> source, Span<byte> target)
    {
        var high = BinaryPrimitives.ReadUInt64BigEndian(nonce);
        var low = BinaryPrimitives.ReadUInt64BigEndian(nonce[8..]);
        while (!source.IsEmpty)
        {
            var count = Math.Min(source.Length, KeyStreamLength);
            var blocks = (count + BlockLength - 1) / BlockLength;
            var counters = _keyStream.AsSpan(0, blocks * BlockLength);
            for (var at = 0; at < counters.Length; at += BlockLength)
            {
                BinaryPrimitives.WriteUInt64BigEndian(counters[at..], high);
                BinaryPrimitives.WriteUInt64BigEndian(counters[(at + 8)..], low);
                high += ++low == 0 ? 1UL : 0UL;
            }

            _encryptor.TransformBlock(_keyStream, 0, counters.Length, _keyStream, 0);
            Xor(source[..count], counters, target[..count]);
            source = source[count..];
            target = target[count..];
        }
    }

    private static void Xor(ReadOnlySpan<byte> source, ReadOnlySpan<byte> keyStream, Span<byte> target)
    {
        var at = 0;
        for (; at <= source.Length - Vector<byte>.Count; at += Vector<byte>.Count)
        {
            (new Vector<byte>(source[at..]) ^ new Vector<byte>(keyStream[at..])).CopyTo(target[at..]);
        }

        for (; at < source.Length; at++)
        {
            target[at] = (byte)(source[at] ^ keyStream[at]);
        }
    }

    private void ComputeTag(ReadOnlySpan<byte> nonce, ReadOnlySpan<byte> ciphertext, Span<byte> tag)
    {
        _nonces.EncryptEcb(nonce, _polyKey.AsSpan(RepositoryKey.MacLength), PaddingMode.None);
        _poly.Init(new KeyParameter(_polyKey));
        _poly.BlockUpdate(ciphertext);
        _poly.DoFinal(tag);
    }
}
