using Tidemark.Blocks.Nodes;

namespace Tidemark.Images.Formats;

/// <summary>The formats that are read and written, and those that are recognised in order to be refused.</summary>
public static class ImageFormat
{
    /// <summary>The bytes of the file are the disk.</summary>
    public const string Raw = "raw";

    /// <summary>QEMU's format, versions 2 and 3.</summary>
    public const string Qcow2 = "qcow2";

    /// <summary>How many bytes are looked at: QEMU's number too.</summary>
    internal const int ProbeLength = 512;

    /// <summary>The supported formats.</summary>
    public static IReadOnlyList<string> Names { get; } = [Raw, Qcow2];

    /// <summary>
    /// Says which format an image's first bytes are of: QEMU's name of any that it would recognise, <c>raw</c> for
    /// everything else. A format that is not supported is told from raw, so that it is not read as what it is not.
    /// </summary>
    internal static async ValueTask<string> ProbeAsync(BlockNode file, CancellationToken cancellationToken) =>
        Probe(await ReadStartAsync(file, cancellationToken).ConfigureAwait(false));

    /// <summary>Reads what is looked at: the first bytes, fewer of a shorter file. A node whose requests are multiples
    /// of more is read further, or nothing of it would be looked at.</summary>
    internal static async ValueTask<byte[]> ReadStartAsync(BlockNode file, CancellationToken cancellationToken)
    {
        var alignment = file.Limits.RequestAlignment;
        var wanted = (long)(ProbeLength + alignment - 1) / alignment * alignment;
        var length = (int)Math.Min(wanted, file.Length / alignment * alignment);
        var start = new byte[length];
        await file.ReadAsync(0, start, cancellationToken).ConfigureAwait(false);
        return length > ProbeLength ? start[..ProbeLength] : start;
    }

    /// <summary>As <see cref="ProbeAsync"/>, of bytes in memory.</summary>
    internal static string Probe(ReadOnlySpan<byte> start) => true switch
    {
        _ when Begins(start, "QFI\u00fb") && Begins(start[4..], "\0\0\0\u0001") => "qcow",
        _ when Begins(start, "QFI\u00fb") => Qcow2,
        _ when Begins(start, "QED\0") => "qed",
        _ when Begins(start, "vhdxfile") => "vhdx",
        _ when Begins(start, "conectix") => "vpc",
        _ when Begins(start, "KDMV") || Begins(start, "COWD") || IsVmdkDescriptor(start) => "vmdk",
        _ when Begins(start, "LUKS\u00ba\u00be") => "luks",
        _ when Begins(start, "WithoutFreeSpace") || Begins(start, "WithouFreSpacExt") => "parallels",
        _ when Begins(start, "Bochs Virtual HD Image") => "bochs",
        _ when Begins(start, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop") => "cloop",
        _ when start.Length > 68 && Begins(start[64..], "\u007f\u0010\u00da\u00be") => "vdi",
        _ => Raw,
    };

    /// <summary>Refuses a format that is not supported, by its name.</summary>
    /// <exception cref="ImageException">It is not.</exception>
    internal static void Require(string format, string imageName, bool wasProbed)
    {
        if (Names.Contains(format))
        {
            return;
        }

        throw ImageException.NotSupported(wasProbed
            ? $"'{imageName}' looks like an image of format '{format}', which is not supported; raw and qcow2 are. "
                + "If its bytes are the disk, say so with format raw"
            : $"Unknown driver '{format}' for '{imageName}': raw and qcow2 are supported");
    }

    private static bool Begins(ReadOnlySpan<byte> bytes, string latin)
    {
        if (bytes.Length < latin.Length)
        {
            return false;
        }

        for (var index = 0; index < latin.Length; index++)
        {
            if (bytes[index] != latin[index])
            {
                return false;
            }
        }

        return true;
    }

    // A text of comments and empty lines that then says its version: the descriptor file of a split image.
    private static bool IsVmdkDescriptor(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            var end = bytes.IndexOf((byte)'\n');
            var line = (end < 0 ? bytes : bytes[..end]).TrimEnd((byte)'\r');
            bytes = end < 0 ? [] : bytes[(end + 1)..];
            if (line.IsEmpty || line[0] == (byte)'#' || !line.ContainsAnyExcept((byte)' '))
            {
                continue;
            }

            return line.SequenceEqual("version=1"u8) || line.SequenceEqual("version=2"u8)
                || line.SequenceEqual("version=3"u8);
        }

        return false;
    }
}
