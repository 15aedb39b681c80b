using Tidemark.Images.Formats;
using Tidemark.Images.Naming;
using Tidemark.Images.Output;
using Tidemark.Qcow2;

namespace Tidemark.Images.Creating;

/// <summary>What a new image is to be: qemu-img's <c>-o</c> options, each with its default where it has
/// one.</summary>
public sealed record CreateOptions
{
    private static readonly string[] s_encryption = ["encryption", "encrypt.format", "encrypt.key-secret"];

    /// <summary>The format, raw or qcow2.</summary>
    public string Format { get; init; } = ImageFormat.Raw;

    /// <summary>The disk's size in bytes; null where it is not said.</summary>
    public long? Length { get; init; }

    /// <summary>The version as it was given: 0.10, v2, 1.1 or v3; null for the newest.</summary>
    public string? Compat { get; init; }

    /// <summary>The backing file's name as it is to stand in the image.</summary>
    public string? BackingFile { get; init; }

    /// <summary>The backing file's format.</summary>
    public string? BackingFormat { get; init; }

    /// <summary>Bytes in a cluster.</summary>
    public int ClusterSize { get; init; } = 65536;

    /// <summary>What is allocated in advance: off, metadata, falloc or full; null where it is not said.</summary>
    public string? Preallocation { get; init; }

    /// <summary>Whether refcounts are written late.</summary>
    public bool LazyRefcounts { get; init; }

    /// <summary>Bits of a refcount.</summary>
    public int RefcountBits { get; init; } = 16;

    /// <summary>zlib or zstd.</summary>
    public string CompressionType { get; init; } = "zlib";

    /// <summary>Whether clusters have subclusters.</summary>
    public bool ExtendedL2 { get; init; }

    /// <summary>The data file's name as it is to stand in the image.</summary>
    public string? DataFile { get; init; }

    /// <summary>Whether the data file is to be the disk by itself; null where it is not said.</summary>
    public bool? DataFileRaw { get; init; }

    /// <summary>Reads one or more <c>KEY=VALUE,…</c> texts; a comma in a value is written twice.</summary>
    /// <exception cref="ImageException">A key that the format does not have, or a value that is none.</exception>
    public static CreateOptions Parse(string format, IEnumerable<string> texts, string imageName)
    {
        ImageFormat.Require(format, imageName, wasProbed: false);
        CreateOptions options = new() { Format = format };
        foreach (var (key, value) in texts.SelectMany(OptionText.Split))
        {
            options = options.With(key, value, imageName);
        }

        return options;
    }

    /// <summary>The version of the header.</summary>
    internal int Version => Compat is "0.10" or "v2" ? 2 : 3;

    /// <summary>The preallocation of a qcow2 image.</summary>
    internal Qcow2Preallocation Qcow2Preallocation => ParsePreallocation(Preallocation ?? "off");

    /// <summary>Reads a preallocation mode.</summary>
    /// <exception cref="ImageException">It is none.</exception>
    public static Qcow2Preallocation ParsePreallocation(string text) => text switch
    {
        "off" => Qcow2Preallocation.Off,
        "metadata" => Qcow2Preallocation.Metadata,
        "falloc" => Qcow2Preallocation.Falloc,
        "full" => Qcow2Preallocation.Full,
        _ => throw ImageException.Invalid(
            $"Invalid parameter '{text}': preallocation is off, metadata, falloc or full"),
    };

    /// <summary>The line by which qemu-img says what it is about to create.</summary>
    public string Announce(string imageName)
    {
        var parts = new List<string> { $"Formatting '{imageName}', fmt={Format}" };
        void Add(string key, string? value)
        {
            if (value is not null)
            {
                parts.Add($"{key}={value}");
            }
        }

        var isQcow2 = Format == ImageFormat.Qcow2;
        if (isQcow2)
        {
            Add("cluster_size", FormattableString.Invariant($"{ClusterSize}"));
            Add("extended_l2", OnOff(ExtendedL2));
            Add("preallocation", Preallocation);
            Add("compression_type", CompressionType);
        }

        Add("size", FormattableString.Invariant($"{Length ?? 0}"));
        if (isQcow2)
        {
            Add("compat", Compat);
            Add("backing_file", BackingFile);
            Add("backing_fmt", BackingFormat);
            Add("data_file", DataFile);
            Add("data_file_raw", DataFileRaw is { } raw ? OnOff(raw) : null);
            Add("lazy_refcounts", OnOff(LazyRefcounts));
            Add("refcount_bits", FormattableString.Invariant($"{RefcountBits}"));
        }
        else
        {
            Add("preallocation", Preallocation);
        }

        return string.Join(' ', parts);
    }

    private static string OnOff(bool value) => value ? "on" : "off";

    private CreateOptions With(string key, string value, string imageName)
    {
        if (Format == ImageFormat.Raw && key is not ("size" or "preallocation"))
        {
            throw ImageException.Invalid($"{imageName}: Invalid parameter '{key}' for format raw");
        }

        return key switch
        {
            "size" => this with { Length = ParseSize(key, value) },
            "preallocation" => this with { Preallocation = CheckPreallocation(value) },
            "compat" => this with
            {
                Compat = value is "0.10" or "v2" or "1.1" or "v3"
                    ? value
                    : throw ImageException.Invalid($"Invalid compatibility level: '{value}'"),
            },
            "backing_file" => this with { BackingFile = value },
            "backing_fmt" => this with { BackingFormat = value },
            "cluster_size" => this with { ClusterSize = ParseInt(key, value) },
            "lazy_refcounts" => this with { LazyRefcounts = ParseSwitch(key, value) },
            "refcount_bits" => this with { RefcountBits = ParseInt(key, value) },
            "compression_type" => this with
            {
                CompressionType = value is "zlib" or "zstd"
                    ? value
                    : throw ImageException.Invalid($"Invalid parameter '{value}': compression_type is zlib or zstd"),
            },
            "extended_l2" => this with { ExtendedL2 = ParseSwitch(key, value) },
            "data_file" => this with { DataFile = value },
            "data_file_raw" => this with { DataFileRaw = ParseSwitch(key, value) },
            _ when s_encryption.Contains(key) => throw ImageException.NotSupported(
                $"{imageName}: '{key}' is not supported: Tidemark does not encrypt images"),
            _ => throw ImageException.Invalid($"{imageName}: Invalid parameter '{key}'"),
        };
    }

    private string CheckPreallocation(string value)
    {
        var mode = ParsePreallocation(value);
        return Format == ImageFormat.Raw && mode == Qcow2Preallocation.Metadata
            ? throw ImageException.Invalid("Invalid parameter 'metadata': raw has no metadata to preallocate")
            : value;
    }

    private static long ParseSize(string key, string value) => SizeText.TryParse(value, out var bytes)
        ? bytes
        : throw ImageException.Invalid($"Parameter '{key}' expects a non-negative size, not '{value}'");

    private static int ParseInt(string key, string value)
    {
        var number = ParseSize(key, value);
        return number <= int.MaxValue
            ? (int)number
            : throw ImageException.Invalid($"Parameter '{key}' is too large: {value}");
    }

    private static bool ParseSwitch(string key, string value) => value switch
    {
        "on" or "yes" or "true" or "y" => true,
        "off" or "no" or "false" or "n" => false,
        _ => throw ImageException.Invalid($"Parameter '{key}' expects 'on' or 'off', not '{value}'"),
    };
}
