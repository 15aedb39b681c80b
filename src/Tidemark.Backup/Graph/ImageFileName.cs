// QEMU calls an image by its file's path only while opening that path again would give the same chain. Where it would
// not (the backing image is named relative to the image, or is another than the header says), the name is a
// description instead: json:{"driver": "qcow2", "file": {"driver": "file", "filename": "/images/a"}, …}. The file is
// the same, and it is the file that a disk is known by.

using System.Text.Json;

namespace Tidemark.Backup.Graph;

/// <summary>The path in what a hypervisor calls an image.</summary>
internal static class ImageFileName
{
    private const string Description = "json:";

    /// <summary>The path of the file that holds the image, where the name describes a format on a whole local file or
    /// device; otherwise the name as it is.</summary>
    /// <remarks>A description with any other option (an offset in the file, a filter, a key) stays: its bytes are not
    /// those of the file.</remarks>
    internal static string Plain(string name)
    {
        if (!name.StartsWith(Description, StringComparison.Ordinal))
        {
            return name;
        }

        try
        {
            using var document = JsonDocument.Parse(name.AsMemory(Description.Length));
            return PathOf(document.RootElement) ?? name;
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            return name;
        }
    }

    private static string? PathOf(JsonElement image)
    {
        if (image.ValueKind != JsonValueKind.Object
            || Text(image, "driver") is not ("qcow2" or "raw")
            || !image.TryGetProperty("file", out var file)
            || file.ValueKind != JsonValueKind.Object
            || Text(file, "driver") is not ("file" or "host_device"))
        {
            return null;
        }

        return image.EnumerateObject().All(option => option.Name is "driver" or "file" or "backing")
            && file.EnumerateObject().All(option => option.Name is "driver" or "filename")
                ? Text(file, "filename")
                : null;
    }

    private static string? Text(JsonElement element, string name) =>
        element.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String
            ? value.GetString()
            : null;
}
