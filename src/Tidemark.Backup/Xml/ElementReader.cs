// One element, read strictly: everything that is asked for is ticked off, and what is left at the end is refused by
// name. So nothing that is written in a definition can be overlooked.

using System.Globalization;
using System.Xml.Linq;
using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Xml;

/// <summary>Reads one element strictly.</summary>
internal sealed class ElementReader
{
    private readonly XElement _element;
    private readonly HashSet<XName> _attributes = [];
    private readonly HashSet<XName> _children = [];

    internal ElementReader(XElement element) => _element = element;

    internal string Name => _element.Name.LocalName;

    /// <summary>The attribute's value, or null.</summary>
    internal string? Attribute(string name)
    {
        _attributes.Add(name);
        return _element.Attribute(name)?.Value;
    }

    /// <summary>The attribute's value; refused when it is missing.</summary>
    internal string Required(string name) =>
        Attribute(name) ?? throw Refuse($"element '{Name}' has no attribute '{name}'");

    /// <summary>The value of an attribute that is one of some words.</summary>
    internal T? Word<T>(string name, params ReadOnlySpan<(string Word, T Value)> words)
        where T : struct
    {
        if (Attribute(name) is not { } text)
        {
            return null;
        }

        foreach (var (word, value) in words)
        {
            if (word == text)
            {
                return value;
            }
        }

        throw BadValue(name, text);
    }

    /// <summary>A <c>yes</c> or <c>no</c>.</summary>
    internal bool? YesNo(string name) => Word(name, ("yes", true), ("no", false));

    /// <summary>A number that is not negative.</summary>
    internal long? Number(string name, long maximum)
    {
        if (Attribute(name) is not { } text)
        {
            return null;
        }

        return long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            && number <= maximum ? number : throw BadValue(name, text);
    }

    /// <summary>A full path.</summary>
    internal string? AbsolutePath(string name)
    {
        var path = Attribute(name);
        return path is null or ['/', _, ..] ? path : throw BadValue(name, path, ": it is no full path");
    }

    /// <summary>The one child of that name, or null.</summary>
    internal ElementReader? Child(string name)
    {
        _children.Add(name);
        XElement? found = null;
        foreach (var child in _element.Elements(name))
        {
            found = found is null ? child : throw Refuse($"element '{Name}' has more than one '{name}'");
        }

        return found is null ? null : new ElementReader(found);
    }

    /// <summary>All children of that name.</summary>
    internal IEnumerable<ElementReader> Children(string name)
    {
        _children.Add(name);
        return _element.Elements(name).Select(child => new ElementReader(child));
    }

    /// <summary>The text of the one child of that name; null when it is missing or empty.</summary>
    internal string? ChildText(string name) => ChildContent(name) is { Length: > 0 } text ? text : null;

    /// <summary>The text of the one child of that name, which may be empty; null when there is no such child.</summary>
    internal string? ChildContent(string name)
    {
        if (Child(name) is not { } child)
        {
            return null;
        }

        child.EndText();
        return child._element.Value;
    }

    /// <summary>The child of that name as it is, or null.</summary>
    internal XElement? Whole(string name) => Child(name)?._element;

    /// <summary>Refuses whatever was not asked for.</summary>
    internal void End()
    {
        EndAttributes();
        foreach (var node in _element.Nodes())
        {
            if (node is XElement child && !_children.Contains(child.Name))
            {
                throw Refuse($"element '{Name}' must not hold '{child.Name.LocalName}' here");
            }

            if (node is XText text && !string.IsNullOrWhiteSpace(text.Value))
            {
                throw Refuse($"element '{Name}' must not hold text");
            }
        }
    }

    /// <summary>That the element's shape is wrong.</summary>
    internal static BackupException Refuse(string problem) => ErrorClass.Schema.ToException(problem);

    /// <summary>That an attribute's value is none of those it can have.</summary>
    internal BackupException BadValue(string name, string value, string why = "")
    {
        const int Most = 80;
        var shown = value.Length <= Most ? value : string.Concat(value.AsSpan(0, Most), "…");
        return Refuse($"'{shown}' is no value for attribute '{name}' of element '{Name}'{why}");
    }

    // An element with text only.
    private void EndText()
    {
        EndAttributes();
        if (_element.HasElements)
        {
            throw Refuse($"element '{Name}' holds text only");
        }
    }

    private void EndAttributes()
    {
        foreach (var attribute in _element.Attributes())
        {
            // A prefix that is declared says nothing; what has the prefix is refused.
            if (!attribute.IsNamespaceDeclaration && !_attributes.Contains(attribute.Name))
            {
                throw Refuse($"element '{Name}' must not have attribute '{attribute.Name.LocalName}' here");
            }
        }
    }
}
