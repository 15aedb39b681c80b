using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using Tidemark.Repository.Crypto;

namespace Tidemark.Repository;

/// <summary>The file <c>config</c> (restic, doc/design.rst, "Repository Format").</summary>
/// <param name="Version">The format's version; only 2 is supported.</param>
/// <param name="Id">64 random hexadecimal digits that name the repository.</param>
/// <param name="ChunkerPolynomial">What restic cuts files with.</param>
internal sealed record RepositoryConfig(int Version, string Id, ulong ChunkerPolynomial)
{
    internal const int SupportedVersion = 2;

    private const int IdLength = 64;

    internal static RepositoryConfig Generate() => new(
        SupportedVersion, RandomNumberGenerator.GetHexString(IdLength, lowercase: true), Polynomial.Generate());

    internal byte[] Encode()
    {
        var buffer = new ArrayBufferWriter<byte>();
        using var writer = new Utf8JsonWriter(buffer);
        writer.WriteStartObject();
        writer.WriteNumber("version", Version);
        writer.WriteString("id", Id);
        writer.WriteString("chunker_polynomial", ChunkerPolynomial.ToString("x", CultureInfo.InvariantCulture));
        writer.WriteEndObject();
        writer.Flush();
        return buffer.WrittenSpan.ToArray();
    }

    internal static RepositoryConfig Decode(ReadOnlyMemory<byte> json, string location)
    {
        RepositoryConfig config;
        try
        {
            using var document = JsonDocument.Parse(json);
            var root = document.RootElement;
            config = new RepositoryConfig(
                root.GetProperty("version").GetInt32(),
                root.GetProperty("id").GetString() ?? "",
                ulong.Parse(
                    root.GetProperty("chunker_polynomial").GetString() ?? "",
                    NumberStyles.AllowHexSpecifier,
                    CultureInfo.InvariantCulture));
        }
        catch (Exception exception)
            when (exception is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged,
                $"the config of the repository at '{location}' is damaged: {exception.Message}");
        }

        return config.Version == SupportedVersion
            ? config
            : throw new RepositoryException(
                RepositoryErrorKind.NotSupported,
                $"the repository at '{location}' has format version {config.Version}; only {SupportedVersion} "
                + "is supported"
                + (config.Version == 1 ? ". Run: restic migrate upgrade_repo_v2" : ""));
    }
}
