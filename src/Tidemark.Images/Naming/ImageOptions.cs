using System.Globalization;
using System.Text.Json;

namespace Tidemark.Images.Naming;

/// <summary>
/// The options of one image as QEMU's <c>json:</c> names hold them: nested objects laid flat, <c>file.filename</c>.
/// Every option is taken exactly once; what is left over is refused by its name.
/// </summary>
internal sealed class ImageOptions
{
    /// <summary>The longest <c>json:</c> name, in characters.</summary>
    internal const int MaximumLength = 64 * 1024;

    private const int MaximumDepth = 32;

    private readonly Dictionary<string, string?> _values = new(StringComparer.Ordinal);
    private readonly string _name;

    private ImageOptions(string name) => _name = name;

    /// <summary>Reads what follows <c>json:</c>.</summary>
    /// <param name="name">The whole name, for messages.</param>
    /// <param name="json">The JSON text.</param>
    /// <exception cref="ImageException">It is no JSON object, or too long or deep.</exception>
    internal static ImageOptions Parse(string name, string json)
    {
        if (json.Length > MaximumLength)
        {
            throw ImageException.Invalid(
                $"a json: name has {json.Length} characters; {MaximumLength} are the most that is read");
        }

        ImageOptions options = new(name);
        try
        {
            using var document = JsonDocument.Parse(json, new JsonDocumentOptions { MaxDepth = MaximumDepth });
            if (document.RootElement.ValueKind != JsonValueKind.Object)
            {
                throw ImageException.Invalid($"'{name}' is not a JSON object");
            }

            options.AddObject("", document.RootElement);
        }
        catch (JsonException exception)
        {
            throw new ImageException(
                Blocks.Nodes.BlockErrorKind.Invalid, $"'{name}' is not JSON: {exception.Message}", exception);
        }

        return options;
    }

    /// <summary>Whether an option, or one below it, is given.</summary>
    internal bool Has(string key) => _values.Keys.Any(
        given => given == key || given.StartsWith(key + ".", StringComparison.Ordinal));

    /// <summary>Whether an option is given as null, and takes it.</summary>
    internal bool TakeNull(string key) =>
        _values.TryGetValue(key, out var value) && value is null && _values.Remove(key);

    /// <summary>Takes an option; null when it is not given.</summary>
    internal string? Take(string key)
    {
        if (!_values.Remove(key, out var value))
        {
            return null;
        }

        return value ?? throw ImageException.Invalid($"'{key}' of '{_name}' must not be null");
    }

    /// <summary>Takes a number of bytes; null when it is not given.</summary>
    internal long? TakeNumber(string key)
    {
        if (Take(key) is not { } text)
        {
            return null;
        }

        return long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            ? number
            : throw ImageException.Invalid($"'{key}' of '{_name}' is '{text}', which is no number of bytes");
    }

    /// <summary>Refuses what nobody took.</summary>
    internal void CheckAllTaken()
    {
        if (_values.Count > 0)
        {
            throw ImageException.NotSupported(
                $"the option '{_values.Keys.Order(StringComparer.Ordinal).First()}' of '{_name}' is not supported");
        }
    }

    /// <inheritdoc/>
    public override string ToString() => _name;

    private void AddObject(string prefix, JsonElement element)
    {
        foreach (var property in element.EnumerateObject())
        {
            Add(prefix + property.Name, property.Value);
        }
    }

    private void Add(string key, JsonElement value)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                AddObject(key + ".", value);
                return;
            case JsonValueKind.Array:
                throw ImageException.NotSupported($"'{key}' of '{_name}' is a list, which no supported option is");
            default:
                var text = value.ValueKind switch
                {
                    JsonValueKind.Null => null,
                    JsonValueKind.True => "on",
                    JsonValueKind.False => "off",
                    JsonValueKind.Number => value.GetRawText(),
                    _ => value.GetString(),
                };
                if (!_values.TryAdd(key, text))
                {
                    throw ImageException.Invalid($"'{key}' of '{_name}' is given twice");
                }

                return;
        }
    }
}
