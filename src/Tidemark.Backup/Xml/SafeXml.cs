// XML from outside, read without trust: no document type (so no entities of its own, internal or external, and no
// "billion laughs"), no resolver, and a named limit on everything that takes memory. The bytes are bounded before the
// parser sees them, so the largest thing it can be made to hold, one attribute, is bounded too.

using System.Text;
using System.Xml;
using System.Xml.Linq;
using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Xml;

/// <summary>Reads XML that nobody vouches for.</summary>
internal static class SafeXml
{
    /// <summary>Reads a document; comments and processing instructions are left out.</summary>
    /// <param name="source">The document; stays the caller's.</param>
    /// <param name="what">What it is, for messages.</param>
    /// <exception cref="BackupException">It is no XML, has a document type, or is over one of
    /// <see cref="XmlLimits"/>.</exception>
    public static XElement Read(Stream source, string what)
    {
        ArgumentNullException.ThrowIfNull(source);
        try
        {
            using var bounded = new BoundedStream(source, XmlLimits.MaximumBytes);
            using var reader = XmlReader.Create(bounded, new XmlReaderSettings
            {
                DtdProcessing = DtdProcessing.Prohibit,
                XmlResolver = null,
                MaxCharactersInDocument = XmlLimits.MaximumBytes,
                MaxCharactersFromEntities = 1,
                IgnoreComments = true,
                IgnoreProcessingInstructions = true,
                ConformanceLevel = ConformanceLevel.Document,
                CheckCharacters = true,
                CloseInput = false,
            });
            return Build(reader);
        }
        catch (XmlException exception)
        {
            // The parser's own sentence about a document type tells a programmer how to allow it.
            var why = exception.Message.Contains("DTD", StringComparison.Ordinal)
                ? $"line {exception.LineNumber} has a document type (<!DOCTYPE …>), which is not read; take it out"
                : exception.Message;
            throw new BackupException(
                BackupErrorKind.Definition, $"{ErrorClass.Schema.ToText()}: {what}: {why}", exception)
            {
                Class = ErrorClass.Schema,
            };
        }
        catch (BackupException exception) when (exception.Class == ErrorClass.Schema)
        {
            throw new BackupException(BackupErrorKind.Definition, $"{exception.Message} ({what})", exception)
            {
                Class = ErrorClass.Schema,
            };
        }
    }

    /// <summary>Reads a document that is in memory.</summary>
    /// <exception cref="BackupException">As <see cref="Read(Stream, string)"/>.</exception>
    public static XElement Read(string text, string what)
    {
        using var stream = new MemoryStream(Encoding.UTF8.GetBytes(text), writable: false);
        return Read(stream, what);
    }

    // Iterative: the depth of the document is no depth of our stack.
    private static XElement Build(XmlReader reader)
    {
        XElement? root = null;
        XElement? current = null;
        var elements = 0;
        while (reader.Read())
        {
            switch (reader.NodeType)
            {
                case XmlNodeType.Element:
                    elements++;
                    Check(elements <= XmlLimits.MaximumElements, reader, $"over {XmlLimits.MaximumElements} elements");
                    Check(
                        reader.Depth < XmlLimits.MaximumDepth,
                        reader,
                        $"elements lie over {XmlLimits.MaximumDepth} deep");
                    var isEmpty = reader.IsEmptyElement;
                    var element = ReadElement(reader);
                    current?.Add(element);
                    root ??= element;
                    current = isEmpty ? current : element;
                    break;
                case XmlNodeType.EndElement:
                    current = current?.Parent;
                    break;
                case XmlNodeType.Text or XmlNodeType.CDATA or XmlNodeType.SignificantWhitespace
                    or XmlNodeType.Whitespace:
                    Check(
                        reader.Value.Length <= XmlLimits.MaximumTextLength,
                        reader,
                        $"a text is over {XmlLimits.MaximumTextLength} characters");
                    current?.Add(new XText(reader.Value));
                    break;
                default:
                    break;
            }
        }

        return root ?? throw ErrorClass.Schema.ToException("there is no element");
    }

    private static XElement ReadElement(XmlReader reader)
    {
        Check(reader.Name.Length <= XmlLimits.MaximumAttributeLength, reader, "an element's name is too long");
        Check(
            reader.AttributeCount <= XmlLimits.MaximumAttributes,
            reader,
            $"element '{reader.LocalName}' has over {XmlLimits.MaximumAttributes} attributes");
        var element = new XElement(XName.Get(reader.LocalName, reader.NamespaceURI));
        while (reader.MoveToNextAttribute())
        {
            Check(
                reader.Value.Length <= XmlLimits.MaximumAttributeLength
                    && reader.Name.Length <= XmlLimits.MaximumAttributeLength,
                reader,
                $"an attribute of '{element.Name.LocalName}' is over {XmlLimits.MaximumAttributeLength} characters");
            var isDefaultNamespace = reader.Prefix.Length == 0 && reader.LocalName == "xmlns";
            element.Add(new XAttribute(
                isDefaultNamespace ? "xmlns" : XName.Get(reader.LocalName, reader.NamespaceURI), reader.Value));
        }

        reader.MoveToElement();
        return element;
    }

    private static void Check(bool holds, XmlReader reader, string problem)
    {
        if (!holds)
        {
            var line = reader as IXmlLineInfo;
            throw ErrorClass.Schema.ToException($"{problem}, line {line?.LineNumber ?? 0}");
        }
    }
}
