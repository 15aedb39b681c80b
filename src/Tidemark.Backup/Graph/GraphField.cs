using System.Text.Json;

namespace Tidemark.Backup.Graph;

/// <summary>Access to the fields of replies: a missing field or a wrong type is a clear error.</summary>
internal static class GraphField
{
    internal static JsonElement Required(JsonElement element, string name, JsonValueKind kind, string where) =>
        Optional(element, name, kind, where) is { ValueKind: not JsonValueKind.Undefined } value
            ? value
            : throw new GraphException($"{where} has no '{name}'");

    /// <summary>The field; undefined when it is not there or null.</summary>
    internal static JsonElement Optional(JsonElement element, string name, JsonValueKind kind, string where)
    {
        if (element.ValueKind != JsonValueKind.Object)
        {
            throw new GraphException($"{where} is no object but {element.ValueKind}");
        }

        if (!element.TryGetProperty(name, out var value) || value.ValueKind == JsonValueKind.Null)
        {
            return default;
        }

        return value.ValueKind == kind
            ? value
            : throw new GraphException($"'{name}' of {where} is {value.ValueKind}, not {kind}");
    }

    internal static string Text(JsonElement element, string name, string where) =>
        Content(Required(element, name, JsonValueKind.String, where), name, where);

    internal static string? OptionalText(JsonElement element, string name, string where) =>
        Optional(element, name, JsonValueKind.String, where) is { ValueKind: JsonValueKind.String } value
            ? Content(value, name, where)
            : null;

    // Half of a surrogate pair, or bytes that are no UTF-8, pass the JSON parser and are no text. They cannot be shown.
    private static string Content(JsonElement value, string name, string where)
    {
        try
        {
            return value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw new GraphException($"'{name}' of {where} is no text");
        }
    }

    internal static long Number(JsonElement element, string name, string where)
    {
        var value = Required(element, name, JsonValueKind.Number, where);
        return value.TryGetInt64(out var number) && number >= 0
            ? number
            : throw new GraphException($"'{name}' of {where} is {value.GetRawText()}, not a size");
    }

    internal static long? OptionalNumber(JsonElement element, string name, string where) =>
        Optional(element, name, JsonValueKind.Number, where) is { ValueKind: JsonValueKind.Number }
            ? Number(element, name, where)
            : null;

    internal static bool Flag(JsonElement element, string name, string where, bool? absent = null)
    {
        if (element.ValueKind != JsonValueKind.Object)
        {
            throw new GraphException($"{where} is no object but {element.ValueKind}");
        }

        if (!element.TryGetProperty(name, out var value))
        {
            return absent ?? throw new GraphException($"{where} has no '{name}'");
        }

        return value.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw new GraphException($"'{name}' of {where} is {value.ValueKind}, not true or false"),
        };
    }

    internal static IEnumerable<JsonElement> Items(JsonElement element, string what)
    {
        if (element.ValueKind == JsonValueKind.Undefined)
        {
            return [];
        }

        return element.ValueKind == JsonValueKind.Array
            ? element.EnumerateArray()
            : throw new GraphException($"{what} is no list but {element.ValueKind}");
    }
}
