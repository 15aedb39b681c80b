using System.Globalization;
using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Xml;

/// <summary>What backups write, as XML: <c>target</c> and <c>scratch</c> with their labels and encryption.</summary>
internal static class ImageXml
{
    internal static BackupImage Read(ElementReader element, ImageKind kind)
    {
        var attribute = AttributeOf(kind);
        var path = element.AbsolutePath(attribute) ?? throw ElementReader.Refuse(
            $"element '{element.Name}' of a disk of type '{(kind == ImageKind.Block ? "block" : "file")}' has no "
            + $"attribute '{attribute}'");
        List<SecurityLabel> labels = [.. element.Children("seclabel").Select(ReadLabel)];
        List<string> models = [.. labels.Select(label => label.Model).OfType<string>()];
        if (models.Distinct(StringComparer.Ordinal).Count() != models.Count)
        {
            throw ElementReader.Refuse($"element '{element.Name}' has two labels of one security model");
        }

        var encryption = element.Child("encryption") is { } child ? ReadEncryption(child) : null;
        element.End();
        return new BackupImage(path) { Labels = labels, Encryption = encryption };
    }

    internal static void Write(XmlText text, string name, BackupImage image, ImageKind kind)
    {
        text.Start(name);
        text.Attribute(AttributeOf(kind), image.Path);
        foreach (var label in image.Labels)
        {
            text.Start("seclabel");
            text.Attribute("model", label.Model);
            text.Attribute(label.LabelSkip ? "labelskip" : "relabel", label.LabelSkip || label.Relabel ? "yes" : "no");
            text.Text("label", label.Label);
            text.End("seclabel");
        }

        if (image.Encryption is { } encryption)
        {
            WriteEncryption(text, encryption);
        }

        text.End(name);
    }

    private static string AttributeOf(ImageKind kind) => kind == ImageKind.Block ? "dev" : "file";

    private static SecurityLabel ReadLabel(ElementReader element)
    {
        var skip = element.Word("labelskip", ("yes", true)) ?? false;
        var relabel = element.YesNo("relabel");
        var label = element.ChildText("label");
        var model = element.Attribute("model");
        element.End();
        if (label is not null && (relabel == false || skip))
        {
            throw ElementReader.Refuse("a label is given where relabelling is turned off");
        }

        return (label, relabel, skip) is (not null, _, _) or (null, false, false) or (null, null, true)
            ? new SecurityLabel(model, relabel ?? !skip, skip, label)
            : throw ElementReader.Refuse(
                "element 'seclabel' needs just one of relabel='no', labelskip='yes' and a 'label'");
    }

    private static ImageEncryption ReadEncryption(ElementReader element)
    {
        var format = element.Required("format");
        if (format != "luks")
        {
            throw element.BadValue("format", format);
        }

        var engine = element.Attribute("engine");
        if (engine is not (null or "qemu"))
        {
            throw element.BadValue("engine", engine);
        }

        var secret = element.Child("secret") ?? throw ElementReader.Refuse("element 'encryption' has no 'secret'");
        var cipher = element.Child("cipher");
        var vector = element.Child("ivgen");
        element.End();
        if (cipher is null != vector is null)
        {
            throw ElementReader.Refuse("element 'encryption' needs both of 'cipher' and 'ivgen', or neither");
        }

        return new ImageEncryption(
            format,
            engine,
            ReadSecret(secret),
            cipher is null ? null : ReadCipher(cipher),
            vector is null ? null : ReadVector(vector));
    }

    private static EncryptionSecret ReadSecret(ElementReader element)
    {
        var type = element.Required("type");
        if (type != "passphrase")
        {
            throw element.BadValue("type", type);
        }

        var uuid = element.Attribute("uuid");
        var usage = element.Attribute("usage");
        element.End();
        if (uuid is null == usage is null)
        {
            throw ElementReader.Refuse("element 'secret' needs either 'uuid' or 'usage'");
        }

        if (uuid is null)
        {
            return new EncryptionSecret(type, null, usage);
        }

        // With dashes or without; printed with them.
        return Guid.TryParseExact(uuid, "D", out var value) || Guid.TryParseExact(uuid, "N", out value)
            ? new EncryptionSecret(type, value.ToString("D", CultureInfo.InvariantCulture), null)
            : throw element.BadValue("uuid", uuid);
    }

    private static EncryptionCipher ReadCipher(ElementReader element)
    {
        var cipher = new EncryptionCipher(
            element.Required("name"),
            (int)(element.Number("size", ushort.MaxValue)
                ?? throw ElementReader.Refuse("element 'cipher' has no attribute 'size'")),
            element.Attribute("mode"),
            element.Attribute("hash"));
        element.End();
        return cipher.Mode is null == cipher.Hash is null
            ? cipher
            : throw ElementReader.Refuse("element 'cipher' needs both of 'mode' and 'hash', or neither");
    }

    private static EncryptionVector ReadVector(ElementReader element)
    {
        var vector = new EncryptionVector(element.Required("name"), element.Attribute("hash"));
        element.End();
        return vector;
    }

    private static void WriteEncryption(XmlText text, ImageEncryption encryption)
    {
        text.Start("encryption");
        text.Attribute("format", encryption.Format);
        text.Attribute("engine", encryption.Engine);
        text.Start("secret");
        text.Attribute("type", encryption.Secret.Type);
        text.Attribute("uuid", encryption.Secret.Uuid);
        text.Attribute("usage", encryption.Secret.Usage);
        text.End("secret");
        if (encryption.Cipher is { } cipher)
        {
            text.Start("cipher");
            text.Attribute("name", cipher.Name);
            text.Attribute("size", cipher.Size.ToString(CultureInfo.InvariantCulture));
            text.Attribute("mode", cipher.Mode);
            text.Attribute("hash", cipher.Hash);
            text.End("cipher");
        }

        if (encryption.Vector is { } vector)
        {
            text.Start("ivgen");
            text.Attribute("name", vector.Name);
            text.Attribute("hash", vector.Hash);
            text.End("ivgen");
        }

        text.End("encryption");
    }
}
