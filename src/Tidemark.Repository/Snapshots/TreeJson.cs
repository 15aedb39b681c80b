using System.Buffers;
using System.Text;
using System.Text.Json;
using Tidemark.Repository.Blobs;

namespace Tidemark.Repository.Snapshots;

// A directory as JSON (doc/design.rst, "Trees and Data"). Fields stand in the order of restic's struct, without spaces,
// and a newline ends the document, so that restic's own encoder would write the very same bytes (restic rewrite and
// restic repair compare). A disk of a million chunks is one entry of about 70 MB: it is written straight into one
// buffer of the right size and read by a streaming reader, never as an object graph.

/// <summary>Writes and reads directories.</summary>
internal static class TreeJson
{
    private const uint GoDirectoryBit = 1u << 31; // fs.ModeDir
    private const uint DirectoryMode = GoDirectoryBit | 0x1C0; // 0700
    private const uint FileMode = 0x180; // 0600
    private const int EntryOverhead = 1024;
    private const int TextOverhead = 3; // two quotes and a comma

    /// <summary>Writes a directory. Entries must be sorted by name, byte by byte, and have names that pass
    /// <see cref="EntryName.Check"/>.</summary>
    /// <exception cref="RepositoryException">The directory would be too long.</exception>
    internal static ReadOnlyMemory<byte> Encode(IReadOnlyList<TreeNode> nodes, TreeOwner owner)
    {
        long bound = 64;
        foreach (var node in nodes)
        {
            bound += EntryOverhead + (node.Content?.Length ?? 0) * (long)(BlobId.TextLength + TextOverhead);
        }

        if (bound > RepositoryLimits.MaximumTreeLength)
        {
            throw new RepositoryException(
                RepositoryErrorKind.NotSupported,
                $"the list of chunks would take {bound} bytes, more than {RepositoryLimits.MaximumTreeLength}; "
                + "use larger chunks");
        }

        var target = new ArrayBufferWriter<byte>((int)bound);
        Write(target, "{\"nodes\":[");
        for (var number = 0; number < nodes.Count; number++)
        {
            Write(target, number == 0 ? "" : ",");
            WriteNode(target, nodes[number], owner);
        }

        Write(target, "]}\n");
        return target.WrittenMemory;
    }

    /// <summary>Reads a directory.</summary>
    /// <param name="json">The tree blob.</param>
    /// <param name="wantsContent">Whether the list of blobs of a file of that name is wanted.</param>
    /// <param name="where">The tree, for messages.</param>
    /// <exception cref="RepositoryException">It is no directory.</exception>
    internal static List<TreeNode> Decode(ReadOnlySpan<byte> json, Func<string, bool> wantsContent, string where)
    {
        var nodes = new List<TreeNode>();
        try
        {
            var reader = new Utf8JsonReader(json);
            reader.Read();
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var isNodes = reader.ValueTextEquals("nodes"u8);
                reader.Read();
                if (!isNodes || reader.TokenType != JsonTokenType.StartArray)
                {
                    reader.Skip();
                    continue;
                }

                while (reader.Read() && reader.TokenType == JsonTokenType.StartObject)
                {
                    nodes.Add(ReadNode(ref reader, wantsContent));
                }
            }
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or FormatException)
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged, $"{where} is no directory: {exception.Message}", exception);
        }

        return nodes;
    }

    private static void WriteNode(ArrayBufferWriter<byte> target, TreeNode node, TreeOwner owner)
    {
        var isDirectory = node.Subtree is not null;
        var time = GoTime.Format(owner.Time);
        Write(target, $"{{\"name\":\"{EntryName.Escape(node.Name)}\",\"type\":\"{(isDirectory ? "dir" : "file")}\"");
        Write(target, $",\"mode\":{(isDirectory ? DirectoryMode : FileMode)}");
        Write(target, $",\"mtime\":\"{time}\",\"atime\":\"{time}\",\"ctime\":\"{time}\"");
        Write(target, $",\"uid\":{owner.UserId},\"gid\":{owner.GroupId}");
        Write(target, owner.User.Length == 0 ? "" : $",\"user\":\"{owner.User}\"");
        Write(target, node.Size == 0 ? "" : $",\"size\":{node.Size}");
        if (isDirectory)
        {
            Write(target, $",\"content\":null,\"subtree\":\"{node.Subtree}\"}}");
            return;
        }

        Write(target, ",\"content\":[");
        var content = node.Content!.Value.Span;
        for (var index = 0; index < content.Length; index++)
        {
            var text = target.GetSpan(BlobId.TextLength + TextOverhead);
            var at = 0;
            if (index > 0)
            {
                text[at++] = (byte)',';
            }

            text[at++] = (byte)'"';
            content[index].WriteTextTo(text[at..]);
            at += BlobId.TextLength;
            text[at++] = (byte)'"';
            target.Advance(at);
        }

        Write(target, "]}");
    }

    private static TreeNode ReadNode(ref Utf8JsonReader reader, Func<string, bool> wantsContent)
    {
        string? name = null, type = null;
        long size = 0;
        BlobId? subtree = null;
        List<BlobId>? content = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            if (reader.ValueTextEquals("name"u8))
            {
                reader.Read();
                name = EntryName.Unquote(reader.GetString() ?? "");
            }
            else if (reader.ValueTextEquals("type"u8))
            {
                reader.Read();
                type = reader.GetString();
            }
            else if (reader.ValueTextEquals("size"u8))
            {
                reader.Read();
                size = checked((long)reader.GetUInt64());
            }
            else if (reader.ValueTextEquals("subtree"u8))
            {
                reader.Read();
                subtree = reader.TokenType == JsonTokenType.Null ? null : ReadId(ref reader);
            }
            else if (reader.ValueTextEquals("content"u8))
            {
                reader.Read();
                content = ReadContent(ref reader, name is null || wantsContent(name));
            }
            else
            {
                reader.Skip();
            }
        }

        return new TreeNode
        {
            Name = name ?? throw new FormatException("an entry has no name"),
            Type = type ?? throw new FormatException($"the entry '{name}' has no type"),
            Size = size,
            Subtree = subtree,
            Content = content is null ? default(ReadOnlyMemory<BlobId>?) : content.ToArray(),
        };
    }

    private static List<BlobId>? ReadContent(ref Utf8JsonReader reader, bool wanted)
    {
        if (!wanted || reader.TokenType != JsonTokenType.StartArray)
        {
            reader.Skip();
            return null;
        }

        var content = new List<BlobId>();
        while (reader.Read() && reader.TokenType == JsonTokenType.String)
        {
            content.Add(ReadId(ref reader));
        }

        return content;
    }

    private static BlobId ReadId(ref Utf8JsonReader reader) =>
        reader.TokenType == JsonTokenType.String && BlobId.TryParse(reader.ValueSpan, out var id)
            ? id
            : throw new FormatException($"found {reader.TokenType} where a digest was expected");

    private static void Write(ArrayBufferWriter<byte> target, string text)
    {
        var bytes = target.GetSpan(Encoding.UTF8.GetMaxByteCount(text.Length));
        target.Advance(Encoding.UTF8.GetBytes(text, bytes));
    }
}
