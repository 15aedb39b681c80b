using System.Buffers;
using System.Security.Cryptography;
using System.Text.Json;
using Tidemark.Repository.Snapshots;

namespace Tidemark.Repository.Crypto;

/// <summary>
/// A key file: the repository's key, sealed with a key that is derived from a password (restic, doc/design.rst, "Keys,
/// Encryption and MAC"). It is plain JSON.
/// </summary>
internal static class KeyFile
{
    private const int SaltLength = 64;

    /// <summary>Writes a key file for a password.</summary>
    internal static byte[] Encode(
        RepositoryKey key, string password, KeyDerivation derivation, string host, string user, DateTimeOffset created)
    {
        var salt = RandomNumberGenerator.GetBytes(SaltLength);
        using var cipher = new BlobCipher(derivation.Derive(password, salt, "the new key"));
        var secret = EncodeSecret(key);
        var data = new byte[secret.Length + BlobCipher.Overhead];
        cipher.Seal(secret, data);
        CryptographicOperations.ZeroMemory(secret);

        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            writer.WriteString("created", GoTime.Format(created));
            writer.WriteString("username", user);
            writer.WriteString("hostname", host);
            writer.WriteString("kdf", "scrypt");
            writer.WriteNumber("N", derivation.N);
            writer.WriteNumber("r", derivation.R);
            writer.WriteNumber("p", derivation.P);
            writer.WriteBase64String("salt", salt);
            writer.WriteBase64String("data", data);
            writer.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();
    }

    /// <summary>Opens a key file. Null: the file is in order, but the password is another one.</summary>
    /// <exception cref="RepositoryException">The file is no key file, or uses a derivation other than
    /// scrypt.</exception>
    internal static RepositoryKey? TryOpen(ReadOnlyMemory<byte> content, string password, string where)
    {
        try
        {
            using var document = JsonDocument.Parse(content);
            var root = document.RootElement;
            var method = root.GetProperty("kdf").GetString();
            if (method != "scrypt")
            {
                throw new RepositoryException(
                    RepositoryErrorKind.NotSupported,
                    $"{where} uses the key derivation '{method}'; only scrypt is supported");
            }

            var derivation = new KeyDerivation(
                root.GetProperty("N").GetInt32(), root.GetProperty("r").GetInt32(), root.GetProperty("p").GetInt32());
            var salt = root.GetProperty("salt").GetBytesFromBase64();
            var data = root.GetProperty("data").GetBytesFromBase64();
            using var cipher = new BlobCipher(derivation.Derive(password, salt, where));
            if (data.Length < BlobCipher.Overhead)
            {
                throw new RepositoryException(
                    RepositoryErrorKind.Damaged, $"{where} is damaged: its data has only {data.Length} bytes");
            }

            var secret = new byte[data.Length - BlobCipher.Overhead];
            return cipher.TryOpen(data, secret) ? DecodeSecret(secret, where) : null;
        }
        catch (Exception exception)
            when (exception is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged, $"{where} is damaged: it is no key file ({exception.Message})", exception);
        }
    }

    private static byte[] EncodeSecret(RepositoryKey key)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            writer.WriteStartObject("mac");
            writer.WriteBase64String("k", key.MacK);
            writer.WriteBase64String("r", key.MacR);
            writer.WriteEndObject();
            writer.WriteBase64String("encrypt", key.Encryption);
            writer.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();
    }

    private static RepositoryKey DecodeSecret(byte[] secret, string where)
    {
        using var document = JsonDocument.Parse(secret);
        var mac = document.RootElement.GetProperty("mac");
        return RepositoryKey.TryCreate(
            document.RootElement.GetProperty("encrypt").GetBytesFromBase64(),
            mac.GetProperty("k").GetBytesFromBase64(),
            mac.GetProperty("r").GetBytesFromBase64())
            ?? throw new RepositoryException(
                RepositoryErrorKind.Damaged, $"{where} is damaged: the key in it has the wrong length or is all zero");
    }
}
