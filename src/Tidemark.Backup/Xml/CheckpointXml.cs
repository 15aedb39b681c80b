using System.Globalization;
using System.Text;
using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Xml;

/// <summary>libvirt's <c>domaincheckpoint</c>, both ways.</summary>
/// <remarks>Read strictly, as <see cref="BackupXml"/>. The virtual machine's own XML (<c>domain</c>) is carried through
/// unread: its elements, attributes and texts stay as they were.</remarks>
public static class CheckpointXml
{
    private const string Root = "domaincheckpoint";

    /// <summary>Reads a request, a redefinition, or what was printed before.</summary>
    /// <param name="source">The document; stays the caller's.</param>
    /// <exception cref="BackupException">It is not of this form; <see cref="BackupException.Class"/> is
    /// <see cref="ErrorClass.Schema"/> then.</exception>
    public static CheckpointDefinition Parse(Stream source)
    {
        var root = SafeXml.Read(source, "the checkpoint's XML");
        return root.Name == Root
            ? Read(new ElementReader(root))
            : throw ElementReader.Refuse($"the element is '{root.Name.LocalName}', not '{Root}'");
    }

    /// <summary>Reads a text.</summary>
    /// <exception cref="BackupException">As <see cref="Parse(Stream)"/>.</exception>
    public static CheckpointDefinition Parse(string text)
    {
        using var stream = new MemoryStream(Encoding.UTF8.GetBytes(text), writable: false);
        return Parse(stream);
    }

    /// <summary>Prints a definition as libvirt does.</summary>
    /// <param name="checkpoint">The definition.</param>
    /// <param name="withDomain">Whether the virtual machine's own XML is printed too, where there is one.</param>
    public static string Format(CheckpointDefinition checkpoint, bool withDomain = true)
    {
        var text = new XmlText();
        text.Start(Root);
        text.Text("name", checkpoint.Name);
        text.Text("description", checkpoint.Description);
        if (checkpoint.Parent is { } parent)
        {
            text.Start("parent");
            text.Text("name", parent);
            text.End("parent");
        }

        text.Text("creationTime", checkpoint.CreationTime?.ToString(CultureInfo.InvariantCulture));
        if (checkpoint.Disks is { Count: > 0 } disks)
        {
            text.Start("disks");
            foreach (var disk in disks)
            {
                text.Start("disk");
                text.Attribute("name", disk.Name);
                text.Attribute("checkpoint", disk.HasBitmap is { } has ? has ? "bitmap" : "no" : null);
                text.Attribute("bitmap", disk.Bitmap);
                text.Attribute("size", disk.Size);
                text.End("disk");
            }

            text.End("disks");
        }

        if (withDomain && checkpoint.Domain is { } domain)
        {
            text.Element(SafeXml.Read(domain, "the virtual machine's XML"));
        }

        text.End(Root);
        return text.ToString();
    }

    private static CheckpointDefinition Read(ElementReader root)
    {
        var name = root.ChildContent("name");
        string? parentName = null;
        if (root.Child("parent") is { } parent)
        {
            parentName = CheckName(parent.ChildContent("name"))
                ?? throw ElementReader.Refuse("element 'parent' has no 'name'");
            parent.End();
        }

        IReadOnlyList<CheckpointDisk>? disks = null;
        if (root.Child("disks") is { } list)
        {
            List<CheckpointDisk> read = [.. list.Children("disk").Take(XmlLimits.MaximumDisks + 1).Select(ReadDisk)];
            list.End();
            disks = read.Count is > 0 and <= XmlLimits.MaximumDisks
                ? read
                : throw ElementReader.Refuse($"element 'disks' holds 1 to {XmlLimits.MaximumDisks} disks");
        }

        var checkpoint = new CheckpointDefinition
        {
            Name = CheckName(name),
            Description = root.ChildText("description"),
            CreationTime = ReadTime(root.ChildContent("creationTime")),
            Parent = parentName,
            Disks = disks,
            Domain = ReadDomain(root),
        };
        root.End();
        return checkpoint;
    }

    private static string? CheckName(string? name) =>
        name is null || CheckpointDefinition.IsName(name)
            ? name
            : throw ElementReader.Refuse(CheckpointDefinition.DescribeRefusal(name));

    private static long? ReadTime(string? text)
    {
        if (text is null)
        {
            return null;
        }

        return long.TryParse(text.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var seconds)
            ? seconds
            : throw ElementReader.Refuse("element 'creationTime' holds no number of seconds");
    }

    private static string? ReadDomain(ElementReader root)
    {
        if (root.Whole("domain") is not { } domain)
        {
            return null;
        }

        var text = new XmlText();
        text.Element(domain);
        return text.ToString();
    }

    private static CheckpointDisk ReadDisk(ElementReader element)
    {
        var name = element.Required("name");
        if (name.Length == 0 || (DiskName.Refuse(name) is not null && name is not ['/', _, ..]))
        {
            throw element.BadValue("name", name);
        }

        var hasBitmap = element.Word("checkpoint", ("bitmap", true), ("no", false));
        var disk = new CheckpointDisk(name) { HasBitmap = hasBitmap };
        if (hasBitmap != false)
        {
            disk = disk with
            {
                Bitmap = element.Attribute("bitmap"),
                Size = element.Number("size", long.MaxValue),
            };
        }

        element.End();
        return disk;
    }
}
