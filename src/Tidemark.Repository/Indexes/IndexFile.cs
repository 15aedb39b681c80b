using System.Buffers;
using System.Text.Json;
using Tidemark.Repository.Blobs;
using Tidemark.Repository.Crypto;
using Tidemark.Repository.Packs;

namespace Tidemark.Repository.Indexes;

/// <summary>The JSON of an index file (restic, doc/design.rst, "Indexing").</summary>
internal static class IndexFile
{
    /// <summary>Writes the JSON for some packs.</summary>
    internal static ReadOnlyMemory<byte> Encode(IEnumerable<(BlobId Pack, IReadOnlyList<PackEntry> Entries)> packs)
    {
        var buffer = new ArrayBufferWriter<byte>(1 << 16);
        using var writer = new Utf8JsonWriter(buffer);
        Span<byte> text = stackalloc byte[BlobId.TextLength];
        writer.WriteStartObject();
        writer.WriteStartArray("packs"u8);
        foreach (var (pack, entries) in packs)
        {
            writer.WriteStartObject();
            pack.WriteTextTo(text);
            writer.WriteString("id"u8, text);
            writer.WriteStartArray("blobs"u8);
            foreach (var entry in entries)
            {
                writer.WriteStartObject();
                entry.Id.WriteTextTo(text);
                writer.WriteString("id"u8, text);
                writer.WriteString("type"u8, entry.Type == BlobType.Tree ? "tree"u8 : "data"u8);
                writer.WriteNumber("offset"u8, entry.Offset);
                writer.WriteNumber("length"u8, entry.SealedLength);
                if (entry.UncompressedLength != 0)
                {
                    writer.WriteNumber("uncompressed_length"u8, entry.UncompressedLength);
                }

                writer.WriteEndObject();
            }

            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
        writer.Flush();
        return buffer.WrittenMemory;
    }

    /// <summary>Reads the JSON and calls <paramref name="add"/> for each pack; the list of entries is used
    /// again.</summary>
    /// <exception cref="RepositoryException">It is not what an index file must be.</exception>
    internal static void Decode(ReadOnlySpan<byte> json, string where, Action<BlobId, List<PackEntry>> add)
    {
        try
        {
            var reader = new Utf8JsonReader(json);
            Expect(ref reader, JsonTokenType.StartObject);
            while (ReadProperty(ref reader))
            {
                if (reader.ValueTextEquals("packs"u8))
                {
                    ReadPacks(ref reader, add);
                }
                else
                {
                    // `supersedes` names index files that were removed when this one was written.
                    reader.Skip();
                }
            }
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or FormatException)
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged,
                $"{where} is damaged: it is no index ({exception.Message}); run: restic rebuild-index",
                exception);
        }
    }

    private static void ReadPacks(ref Utf8JsonReader reader, Action<BlobId, List<PackEntry>> add)
    {
        var entries = new List<PackEntry>();
        Expect(ref reader, JsonTokenType.StartArray);
        while (ReadElement(ref reader))
        {
            BlobId pack = default;
            entries.Clear();
            while (ReadProperty(ref reader))
            {
                if (reader.ValueTextEquals("id"u8))
                {
                    pack = ReadId(ref reader);
                }
                else if (reader.ValueTextEquals("blobs"u8))
                {
                    Expect(ref reader, JsonTokenType.StartArray);
                    while (ReadElement(ref reader))
                    {
                        entries.Add(ReadEntry(ref reader));
                    }
                }
                else
                {
                    reader.Skip();
                }
            }

            if (pack.IsEmpty)
            {
                throw new FormatException("a pack has no id");
            }

            add(pack, entries);
        }
    }

    private static PackEntry ReadEntry(ref Utf8JsonReader reader)
    {
        BlobId id = default;
        BlobType? type = null;
        uint offset = 0, sealedLength = 0, uncompressedLength = 0;
        while (ReadProperty(ref reader))
        {
            if (reader.ValueTextEquals("id"u8))
            {
                id = ReadId(ref reader);
            }
            else if (reader.ValueTextEquals("type"u8))
            {
                Expect(ref reader, JsonTokenType.String);
                type = reader.ValueTextEquals("data"u8) ? BlobType.Data
                    : reader.ValueTextEquals("tree"u8) ? BlobType.Tree
                    : throw new FormatException($"there is no blob type '{reader.GetString()}'");
            }
            else if (reader.ValueTextEquals("offset"u8))
            {
                offset = ReadNumber(ref reader);
            }
            else if (reader.ValueTextEquals("length"u8))
            {
                sealedLength = ReadNumber(ref reader);
            }
            else if (reader.ValueTextEquals("uncompressed_length"u8))
            {
                uncompressedLength = ReadNumber(ref reader);
            }
            else
            {
                reader.Skip();
            }
        }

        if (id.IsEmpty || type is null || sealedLength < BlobCipher.Overhead)
        {
            throw new FormatException($"the blob '{id}' has type {type} and length {sealedLength}");
        }

        return new PackEntry(type.Value, id, offset, sealedLength, uncompressedLength);
    }

    private static BlobId ReadId(ref Utf8JsonReader reader)
    {
        Expect(ref reader, JsonTokenType.String);
        return !reader.ValueIsEscaped && BlobId.TryParse(reader.ValueSpan, out var id)
            ? id
            : throw new FormatException($"'{reader.GetString()}' is no digest");
    }

    private static uint ReadNumber(ref Utf8JsonReader reader)
    {
        Expect(ref reader, JsonTokenType.Number);
        return reader.GetUInt32();
    }

    // Moves to the next property's name; false at the end of the object.
    private static bool ReadProperty(ref Utf8JsonReader reader) =>
        reader.Read() && reader.TokenType == JsonTokenType.PropertyName;

    // Moves into the next object of an array; false at the array's end.
    private static bool ReadElement(ref Utf8JsonReader reader) =>
        reader.Read() && (reader.TokenType == JsonTokenType.StartObject
            || (reader.TokenType == JsonTokenType.EndArray
                ? false
                : throw new FormatException($"found {reader.TokenType} where an object was expected")));

    private static void Expect(ref Utf8JsonReader reader, JsonTokenType type)
    {
        if (!reader.Read() || reader.TokenType != type)
        {
            throw new FormatException($"found {reader.TokenType} where {type} was expected");
        }
    }
}
