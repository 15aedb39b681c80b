using System.Globalization;
using System.Text;
using System.Xml.Linq;

namespace Tidemark.Backup.Xml;

/// <summary>Writes XML as libvirt prints it: two spaces of indent, attributes in single quotes, an element without
/// content closed at once, a text on its element's line.</summary>
internal sealed class XmlText
{
    private readonly StringBuilder _text = new();
    private int _depth;
    private bool _isOpen;

    /// <summary>Begins an element; its attributes follow, then its content, then <see cref="End"/>.</summary>
    internal void Start(string name)
    {
        CloseStartTag();
        _text.Append(' ', 2 * _depth).Append('<').Append(name);
        _isOpen = true;
        _depth++;
    }

    /// <summary>An attribute of the element just begun; nothing when there is no value.</summary>
    internal void Attribute(string name, string? value)
    {
        if (value is not null)
        {
            _text.Append(' ').Append(name).Append("='");
            Escape(value, isAttribute: true);
            _text.Append('\'');
        }
    }

    /// <summary>A number as an attribute; nothing when there is none.</summary>
    internal void Attribute(string name, long? value) =>
        Attribute(name, value?.ToString(CultureInfo.InvariantCulture));

    /// <summary>Ends the element.</summary>
    internal void End(string name)
    {
        _depth--;
        if (_isOpen)
        {
            _text.Append("/>\n");
            _isOpen = false;
        }
        else
        {
            _text.Append(' ', 2 * _depth).Append("</").Append(name).Append(">\n");
        }
    }

    /// <summary>An element with nothing but a text; nothing when there is none.</summary>
    internal void Text(string name, string? value)
    {
        if (value is null)
        {
            return;
        }

        CloseStartTag();
        _text.Append(' ', 2 * _depth).Append('<').Append(name).Append('>');
        Escape(value, isAttribute: false);
        _text.Append("</").Append(name).Append(">\n");
    }

    /// <summary>Any element, with all that is in it.</summary>
    /// <remarks>Its depth is bounded by what read it: <see cref="XmlLimits.MaximumDepth"/>.</remarks>
    internal void Element(XElement element)
    {
        CloseStartTag();
        if (IsMixed(element))
        {
            // White space may have a meaning here: nothing is indented.
            _text.Append(' ', 2 * _depth);
            Inline(element);
            _text.Append('\n');
            return;
        }

        var name = NameOf(element, element.Name);
        Start(name);
        Attributes(element);
        foreach (var child in element.Elements())
        {
            Element(child);
        }

        End(name);
    }

    /// <inheritdoc/>
    public override string ToString() => _text.ToString();

    private void CloseStartTag()
    {
        if (_isOpen)
        {
            _text.Append(">\n");
            _isOpen = false;
        }
    }

    private void Inline(XElement element)
    {
        var name = NameOf(element, element.Name);
        _text.Append('<').Append(name);
        Attributes(element);
        _text.Append('>');
        foreach (var node in element.Nodes())
        {
            if (node is XElement child)
            {
                Inline(child);
            }
            else if (node is XText text)
            {
                Escape(text.Value, isAttribute: false);
            }
        }

        _text.Append("</").Append(name).Append('>');
    }

    private void Attributes(XElement element)
    {
        foreach (var attribute in element.Attributes())
        {
            Attribute(
                attribute.IsNamespaceDeclaration && attribute.Name.Namespace == XNamespace.None
                    ? "xmlns"
                    : NameOf(element, attribute.Name),
                attribute.Value);
        }
    }

    private static bool IsMixed(XElement element) =>
        element.Nodes().OfType<XText>().Any(text => !element.HasElements || !string.IsNullOrWhiteSpace(text.Value));

    // The document's own prefixes are kept; the declarations are attributes of the elements that have them.
    private static string NameOf(XElement element, XName name) =>
        element.GetPrefixOfNamespace(name.Namespace) is { Length: > 0 } prefix
            ? $"{prefix}:{name.LocalName}"
            : name.LocalName;

    private void Escape(string value, bool isAttribute)
    {
        foreach (var character in value)
        {
            _ = character switch
            {
                '<' => _text.Append("&lt;"),
                '>' => _text.Append("&gt;"),
                '&' => _text.Append("&amp;"),
                '"' => _text.Append("&quot;"),
                '\'' => _text.Append("&apos;"),
                '\r' => _text.Append("&#13;"),
                // Reading would make a space of these in an attribute.
                '\n' when isAttribute => _text.Append("&#10;"),
                '\t' when isAttribute => _text.Append("&#9;"),
                _ => _text.Append(character),
            };
        }
    }
}
