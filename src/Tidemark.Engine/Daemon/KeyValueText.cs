using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Tidemark.Engine.Daemon;

// The options of qemu-storage-daemon are written as `key=value,key=value`. A comma inside a value is doubled. A dot in
// a key descends into an object (`file.filename=a`), and an object whose keys are all numbers is a list
// (`bitmaps.0=b0`). The first value may stand alone where the option says which key it then has (`--export nbd,id=e`).
// What begins with a brace is JSON. (QEMU: util/keyval.c, "Key=value options".)

/// <summary>Reads the text of an option into the object that QMP would take.</summary>
internal static class KeyValueText
{
    /// <summary>The longest list that indexed keys may make.</summary>
    internal const int MaximumListLength = 1024;

    private const int MaximumDepth = 64;

    /// <summary>Whether the text is JSON, where scalars have types of their own.</summary>
    internal static bool IsJson(string text) => text.StartsWith('{');

    /// <summary>Reads an option.</summary>
    /// <param name="text">Its text.</param>
    /// <param name="impliedKey">The key of a first value without one, or null when there is none.</param>
    /// <exception cref="StorageDaemonException">The text is malformed, or gives a key twice.</exception>
    internal static JsonElement Parse(string text, string? impliedKey)
    {
        if (IsJson(text))
        {
            try
            {
                using var document = JsonDocument.Parse(text, new JsonDocumentOptions { AllowDuplicateProperties =
                    false });
                return document.RootElement.Clone();
            }
            catch (JsonException exception)
            {
                throw new StorageDaemonException($"JSON parse error in '{text}': {exception.Message}", exception);
            }
        }

        var root = new JsonObject();
        var isFirst = true;
        foreach (var part in Split(text))
        {
            var equals = part.IndexOf('=', StringComparison.Ordinal);
            if (equals < 0 && !(isFirst && impliedKey is not null))
            {
                throw new StorageDaemonException($"Expected '=' after parameter '{part}'");
            }

            var key = equals < 0 ? impliedKey! : part[..equals];
            Set(root, key, equals < 0 ? part : part[(equals + 1)..]);
            isFirst = false;
        }

        using var result = JsonDocument.Parse(Listify(root).ToJsonString());
        return result.RootElement.Clone();
    }

    /// <summary>Cuts at single commas; a doubled one is a comma of the value.</summary>
    internal static List<string> Split(string text)
    {
        List<string> parts = [];
        var part = new StringBuilder();
        for (var index = 0; index < text.Length; index++)
        {
            if (text[index] != ',')
            {
                part.Append(text[index]);
            }
            else if (index + 1 < text.Length && text[index + 1] == ',')
            {
                part.Append(',');
                index++;
            }
            else
            {
                parts.Add(part.ToString());
                part.Clear();
            }
        }

        if (part.Length > 0)
        {
            parts.Add(part.ToString());
        }

        return parts;
    }

    private static void Set(JsonObject root, string key, string value)
    {
        var names = key.Split('.');
        if (names.Length > MaximumDepth || names.Any(name => name.Length == 0))
        {
            throw new StorageDaemonException($"Invalid parameter '{key}'");
        }

        var target = root;
        foreach (var name in names[..^1])
        {
            if (!target.TryGetPropertyValue(name, out var child))
            {
                target[name] = child = new JsonObject();
            }

            target = child as JsonObject
                ?? throw new StorageDaemonException($"Parameter '{key}' used inconsistently");
        }

        if (target[names[^1]] is JsonObject)
        {
            throw new StorageDaemonException($"Parameter '{key}' used inconsistently");
        }

        // The last one counts, as in QEMU.
        target[names[^1]] = value;
    }

    private static JsonNode Listify(JsonNode node)
    {
        if (node is not JsonObject parent)
        {
            return node.DeepClone();
        }

        if (parent.Count > 0 && parent.All(member => char.IsAsciiDigit(member.Key[0])))
        {
            var list = new JsonArray();
            for (var index = 0; index < parent.Count; index++)
            {
                var name = index.ToString(CultureInfo.InvariantCulture);
                list.Add(parent.Count <= MaximumListLength && parent[name] is { } item
                    ? Listify(item)
                    : throw new StorageDaemonException(
                        $"Parameter '{name}' missing: a list is numbered from 0 without gaps"));
            }

            return list;
        }

        var copy = new JsonObject();
        foreach (var (name, child) in parent)
        {
            copy[name] = Listify(child!);
        }

        return copy;
    }
}
