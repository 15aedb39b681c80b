using System.Globalization;
using System.Numerics;
using System.Text.Json;

namespace Tidemark.Qmp;

// Arguments are read in the order of the command's definition, each by its name; what has been read is noted. When the
// command has taken what it knows, CheckNothingLeft refuses whatever remains by name, so that an option can never be
// silently ignored. The texts of the errors are those of QEMU's input visitors, with the full path of the member
// (`actions[0].data.node`).
//
// Values that come from a command line are all strings; such arguments are read with QEMU's conventions for them: `on`
// and `off` for booleans, sizes with a suffix.

/// <summary>The arguments of a command, or an object inside them: each member is asked for by name, the rest
/// refused.</summary>
/// <remarks>Not thread-safe. Every error is a <see cref="QmpException"/> of the class GenericError.</remarks>
public sealed class QmpArguments
{
    private readonly JsonElement _value;
    private readonly string _prefix;
    private readonly bool _isText;
    private readonly HashSet<string> _read = new(StringComparer.Ordinal);
    private readonly List<QmpArguments> _children = [];

    private QmpArguments(JsonElement value, string prefix, bool isText)
    {
        _value = value;
        _prefix = prefix;
        _isText = isText;
    }

    /// <summary>No arguments at all.</summary>
    public static QmpArguments Empty => new(default, "", isText: false);

    /// <summary>Reads the arguments of a message.</summary>
    /// <param name="value">An object, or undefined for none.</param>
    public static QmpArguments FromJson(JsonElement value) => new(value, "", isText: false);

    /// <summary>Reads the options of a command line, where every scalar is a string.</summary>
    /// <param name="value">An object.</param>
    public static QmpArguments FromText(JsonElement value) => new(value, "", isText: true);

    /// <summary>The full name of a member, for messages.</summary>
    public string FullName(string name) => _prefix + name;

    /// <summary>Whether the member is there. Asking does not count as reading.</summary>
    public bool Has(string name) => _value.ValueKind == JsonValueKind.Object && _value.TryGetProperty(name, out _);

    /// <summary>The raw member, or undefined; counts as read.</summary>
    public JsonElement FindRaw(string name) => TryRead(name, out var member) ? member : default;

    /// <summary>A string that must be there.</summary>
    public string GetString(string name) => FindString(name) ?? throw Missing(name);

    /// <summary>A string, or null.</summary>
    public string? FindString(string name)
    {
        if (!TryRead(name, out var member))
        {
            return null;
        }

        return member.ValueKind == JsonValueKind.String ? member.GetString()! : throw WrongType(name, "string");
    }

    /// <summary>A boolean, or null.</summary>
    public bool? FindBoolean(string name)
    {
        if (!TryRead(name, out var member))
        {
            return null;
        }

        if (_isText && member.ValueKind == JsonValueKind.String)
        {
            return member.GetString() switch
            {
                "on" or "yes" or "true" or "y" => true,
                "off" or "no" or "false" or "n" => false,
                _ => throw Error($"Parameter '{FullName(name)}' expects 'on' or 'off'"),
            };
        }

        return member.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw WrongType(name, "boolean"),
        };
    }

    /// <summary>A whole number that must be there.</summary>
    public long GetInteger(string name) => FindInteger(name) ?? throw Missing(name);

    /// <summary>A whole number, or null.</summary>
    public long? FindInteger(string name)
    {
        if (!TryRead(name, out var member))
        {
            return null;
        }

        if (_isText && member.ValueKind == JsonValueKind.String)
        {
            return long.TryParse(
                member.GetString(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var text)
                ? text
                : throw Error($"Parameter '{FullName(name)}' expects int64");
        }

        return member.ValueKind == JsonValueKind.Number && member.TryGetInt64(out var value)
            ? value
            : throw WrongType(name, "integer");
    }

    /// <summary>A size in bytes that must be there.</summary>
    public long GetSize(string name) => FindSize(name) ?? throw Missing(name);

    /// <summary>A size in bytes, at most 2^63 - 1, or null. On a command line it may have a suffix from K to
    /// E.</summary>
    public long? FindSize(string name)
    {
        if (!TryRead(name, out var member))
        {
            return null;
        }

        if (_isText && member.ValueKind == JsonValueKind.String)
        {
            return TryParseSize(member.GetString()!, out var size)
                ? size
                : throw Error($"Parameter '{FullName(name)}' expects size");
        }

        if (member.ValueKind == JsonValueKind.Number && member.TryGetInt64(out var value) && value >= 0)
        {
            return value;
        }

        throw Error($"Parameter '{FullName(name)}' expects uint64");
    }

    /// <summary>A value of an enumeration that must be there.</summary>
    public string GetChoice(string name, params ReadOnlySpan<string> choices)
    {
        var value = GetString(name);
        return choices.Contains(value) ? value : throw BadChoice(name, value);
    }

    /// <summary>A value of an enumeration, or null.</summary>
    public string? FindChoice(string name, params ReadOnlySpan<string> choices) =>
        FindString(name) is not { } value || choices.Contains(value) ? FindString(name) : throw BadChoice(name, value);

    /// <summary>An object that must be there.</summary>
    public QmpArguments GetObject(string name) => FindObject(name) ?? throw Missing(name);

    /// <summary>An object, or null. What it leaves unread is refused together with its parent's.</summary>
    public QmpArguments? FindObject(string name)
    {
        if (!TryRead(name, out var member))
        {
            return null;
        }

        return member.ValueKind == JsonValueKind.Object ? Child(member, name + ".") : throw WrongType(name, "object");
    }

    /// <summary>A list of objects that must be there.</summary>
    public IReadOnlyList<QmpArguments> GetObjects(string name)
    {
        List<QmpArguments> items = [];
        foreach (var (item, fullName) in List(name) ?? throw Missing(name))
        {
            items.Add(item.ValueKind == JsonValueKind.Object
                ? Child(item, fullName + ".")
                : throw WrongType(fullName, "object"));
        }

        return items;
    }

    /// <summary>
    /// A list whose items are strings or objects, or null when it is missing: QEMU's alternates, such as the bitmaps of
    /// a merge, which are names or <c>{node, name}</c>.
    /// </summary>
    public IReadOnlyList<(string? Text, QmpArguments? Object)>? FindStringsOrObjects(string name)
    {
        if (List(name) is not { } list)
        {
            return null;
        }

        List<(string?, QmpArguments?)> items = [];
        foreach (var (item, fullName) in list)
        {
            items.Add(item.ValueKind switch
            {
                JsonValueKind.String => (item.GetString(), null),
                JsonValueKind.Object => (null, Child(item, fullName + ".")),
                _ => throw Error($"Invalid parameter type for '{_prefix}{fullName}', expected: string"),
            });
        }

        return items;
    }

    /// <summary>A member that is a string or an object, or neither when it is missing.</summary>
    public (string? Text, QmpArguments? Object) FindStringOrObject(string name)
    {
        if (!TryRead(name, out var member))
        {
            return default;
        }

        return member.ValueKind switch
        {
            JsonValueKind.String => (member.GetString(), null),
            JsonValueKind.Object => (null, Child(member, name + ".")),
            _ => throw WrongType(name, "string"),
        };
    }

    /// <summary>Refuses the first member, of this object or of those read from it, that nobody asked for.</summary>
    /// <exception cref="QmpException">Such a member is there; it is named.</exception>
    public void CheckNothingLeft()
    {
        foreach (var child in _children)
        {
            child.CheckNothingLeft();
        }

        if (_value.ValueKind == JsonValueKind.Object)
        {
            foreach (var member in _value.EnumerateObject())
            {
                if (!_read.Contains(member.Name))
                {
                    throw Error($"Parameter '{FullName(member.Name)}' is unexpected");
                }
            }
        }
    }

    /// <summary>An error that says that a member has to be there.</summary>
    public QmpException Missing(string name) => Error($"Parameter '{FullName(name)}' is missing");

    /// <summary>An error that says that a member has another type.</summary>
    public QmpException WrongType(string name, string expected) =>
        Error($"Invalid parameter type for '{FullName(name)}', expected: {expected}");

    /// <summary>An error that says that an enumeration has no such value. QEMU names the member alone here, without its
    /// path.</summary>
    public static QmpException BadChoice(string name, string value) =>
        Error($"Parameter '{name}' does not accept value '{value}'");

    /// <summary>An error that says that an option is known and not supported.</summary>
    public QmpException NotSupported(string name) => Error($"Parameter '{FullName(name)}' is not supported");

    /// <summary>Refuses options by name that exist in QEMU and are not supported here, if they are there.</summary>
    public void RefuseUnsupported(params ReadOnlySpan<string> names)
    {
        foreach (var name in names)
        {
            if (Has(name))
            {
                throw NotSupported(name);
            }
        }
    }

    private static QmpException Error(string description) => new(QmpException.GenericError, description);

    private bool TryRead(string name, out JsonElement member)
    {
        member = default;
        if (_value.ValueKind != JsonValueKind.Object || !_value.TryGetProperty(name, out member))
        {
            return false;
        }

        _read.Add(name);
        return true;
    }

    private QmpArguments Child(JsonElement value, string relativePrefix)
    {
        var child = new QmpArguments(value, _prefix + relativePrefix, _isText);
        _children.Add(child);
        return child;
    }

    private List<(JsonElement Item, string Name)>? List(string name)
    {
        if (!TryRead(name, out var member))
        {
            return null;
        }

        if (member.ValueKind != JsonValueKind.Array)
        {
            throw WrongType(name, "array");
        }

        List<(JsonElement, string)> items = [];
        foreach (var item in member.EnumerateArray())
        {
            items.Add((item, string.Create(CultureInfo.InvariantCulture, $"{name}[{items.Count}]")));
        }

        return items;
    }

    private static bool TryParseSize(string text, out long size)
    {
        size = 0;
        var digits = text.AsSpan();
        var shift = 0;
        if (!digits.IsEmpty && char.IsAsciiLetter(digits[^1]))
        {
            var power = "bkmgtpe".IndexOf(char.ToLowerInvariant(digits[^1]), StringComparison.Ordinal);
            if (power < 0)
            {
                return false;
            }

            shift = 10 * power;
            digits = digits[..^1];
        }

        if (!long.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
        {
            return false;
        }

        var product = (BigInteger)number << shift;
        size = product > long.MaxValue ? 0 : (long)product;
        return product <= long.MaxValue;
    }
}
