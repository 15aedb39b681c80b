using Tidemark.Images.Formats;
using Tidemark.Images.Naming;

namespace Tidemark.Images.Creating;

/// <summary>What <c>-o help</c> says: the options of a format, in qemu-img's words and form. Those that QEMU has and
/// Tidemark refuses (encryption, hints to a file system) are not listed.</summary>
public static class CreateHelp
{
    private const int NameWidth = 22;

    private static readonly (string Name, string Type, string Text)[] s_qcow2 =
    [
        ("backing_file", "str", "File name of a base image"),
        ("backing_fmt", "str", "Image format of the base image"),
        ("cluster_size", "size", "qcow2 cluster size"),
        ("compat", "str", "Compatibility level (v2 [0.10] or v3 [1.1])"),
        ("compression_type", "str", "Compression method used for image cluster compression"),
        ("data_file", "str", "File name of an external data file"),
        ("data_file_raw", "bool (on/off)", "The external data file must stay valid as a raw image"),
        ("extended_l2", "bool (on/off)", "Extended L2 tables"),
        ("lazy_refcounts", "bool (on/off)", "Postpone refcount updates"),
        ("preallocation", "str", "Preallocation mode (allowed values: off, metadata, falloc, full)"),
        ("refcount_bits", "num", "Width of a reference count entry in bits"),
        ("size", "size", "Virtual disk size"),
    ];

    private static readonly (string Name, string Type, string Text)[] s_raw =
    [
        ("preallocation", "str", "Preallocation mode (allowed values: off, falloc, full)"),
        ("size", "size", "Virtual disk size"),
    ];

    /// <summary>Whether the texts of <c>-o</c> ask for help.</summary>
    public static bool IsAsked(IEnumerable<string> texts) =>
        texts.SelectMany(OptionText.Split).Any(option => option.Key is "help" or "?");

    /// <summary>The help, in lines.</summary>
    /// <exception cref="ImageException">The format is not supported.</exception>
    public static IEnumerable<string> Lines(string format)
    {
        ImageFormat.Require(format, "-o help", wasProbed: false);
        return (format == ImageFormat.Qcow2 ? s_qcow2 : s_raw)
            .Select(option => $"  {$"{option.Name}=<{option.Type}>",-NameWidth} - {option.Text}")
            .Prepend("Supported options:");
    }
}
