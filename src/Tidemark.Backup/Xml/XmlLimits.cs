namespace Tidemark.Backup.Xml;

/// <summary>How much XML from outside may hold, by name. A definition that people or libvirt write is far below each:
/// the largest is a checkpoint that carries the whole virtual machine's XML.</summary>
public static class XmlLimits
{
    /// <summary>Bytes of a document; reading stops there, whatever the document goes on with.</summary>
    public const long MaximumBytes = 4 << 20;

    /// <summary>How deep elements may lie in one another.</summary>
    public const int MaximumDepth = 64;

    /// <summary>Elements of a document.</summary>
    public const int MaximumElements = 50_000;

    /// <summary>Attributes of one element.</summary>
    public const int MaximumAttributes = 64;

    /// <summary>Characters of one attribute's value, and of one name.</summary>
    public const int MaximumAttributeLength = 64 << 10;

    /// <summary>Characters of one text.</summary>
    public const int MaximumTextLength = 1 << 20;

    /// <summary>Disks of one backup or checkpoint.</summary>
    public const int MaximumDisks = Definitions.RunNames.MaximumDisks;
}
