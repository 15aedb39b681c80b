using System.Numerics;
using System.Text;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2;

/// <summary>Which creation options go together; the rules are QEMU's (block/qcow2.c, qcow2_co_create).</summary>
internal static class CreateRules
{
    /// <summary>Refuses what cannot be.</summary>
    /// <exception cref="Qcow2Exception">Says which option, and why.</exception>
    internal static void Check(Qcow2CreateOptions options)
    {
        CheckSizes(options);
        CheckVersion(options);
        CheckNames(options);
    }

    private static void CheckSizes(Qcow2CreateOptions options)
    {
        const int Smallest = 1 << Qcow2Limits.MinimumClusterBits, Largest = 1 << Qcow2Limits.MaximumClusterBits;
        Require(
            options.ClusterSize is >= Smallest and <= Largest && BitOperations.IsPow2(options.ClusterSize),
            $"cluster size {options.ClusterSize} must be a power of two from {Smallest} to {Largest}");
        Require(
            options.RefcountBits is >= 1 and <= 64 && BitOperations.IsPow2(options.RefcountBits),
            $"refcount bits {options.RefcountBits} must be a power of two from 1 to 64");
        Require(
            options.Length is >= 0 and <= Qcow2Limits.MaximumCreateLength,
            $"a disk of {options.Length} bytes is outside 0 to {Qcow2Limits.MaximumCreateLength}");
        Require(
            !options.ExtendedL2 || options.ClusterSize >= 1 << Qcow2Limits.MinimumExtendedClusterBits,
            $"extended L2 entries need a cluster size of at least {1 << Qcow2Limits.MinimumExtendedClusterBits}");
        var perL2 = (long)options.ClusterSize * (options.ClusterSize / (options.ExtendedL2 ? 16 : 8));
        Require(
            options.Length / perL2 < Qcow2Limits.MaximumL1Bytes / 8,
            $"a disk of {options.Length} bytes needs clusters larger than {options.ClusterSize} bytes");
    }

    private static void CheckVersion(Qcow2CreateOptions options)
    {
        Require(options.Version is 2 or 3, $"qcow2 version {options.Version} cannot be created; 2 and 3 can");
        Require(
            options.CompressionType is 0 or 1,
            $"compression type {options.CompressionType} is not possible; 0 (zlib) and 1 (zstd) are");
        var needsThree = options.RefcountBits != 16 ? "refcount widths other than 16 bits"
            : options.LazyRefcounts ? "lazy refcounts"
            : options.ExtendedL2 ? "extended L2 entries"
            : options.CompressionType != 0 ? "zstd compression"
            : options.DataFile is not null ? "an external data file"
            : null;
        Require(
            options.Version >= 3 || needsThree is null,
            $"{needsThree} need compatibility level 1.1 and above (version 3 or greater)");
    }

    private static void CheckNames(Qcow2CreateOptions options)
    {
        if (options.BackingFile is { } name)
        {
            CheckLength("backing file", name);
            Require(
                !string.IsNullOrEmpty(options.BackingFormat),
                $"the format of the backing file '{name}' must be given: to guess it is unsafe");
            Require(!options.DataFileRaw, "a backing file and a raw data file cannot be used at the same time");
            Require(
                options.Preallocation == Qcow2Preallocation.Off || options.ExtendedL2,
                "a backing file and preallocation can only be used at the same time if extended L2 entries are "
                + "enabled");
        }

        Require(
            options.BackingFormat is not { } format || (options.BackingFile is not null
                && Encoding.UTF8.GetByteCount(format) <= Qcow2Limits.MaximumBackingFormatLength),
            $"backing format '{options.BackingFormat}' is too long, or there is no backing file");
        Require(!options.DataFileRaw || options.DataFile is not null, "a raw data file needs the name of a data file");
        Require(
            options.DataFile is null == options.DataFileNode is null,
            "an external data file needs both its name and its node");
        if (options.DataFile is { } dataFile)
        {
            CheckLength("data file", dataFile);
        }
    }

    private static void CheckLength(string what, string name)
    {
        var length = Encoding.UTF8.GetByteCount(name);
        Require(
            length is > 0 and <= Qcow2Limits.MaximumBackingFileLength,
            $"the {what}'s name has {length} bytes; 1 to {Qcow2Limits.MaximumBackingFileLength} are possible");
    }

    private static void Require(bool holds, string otherwise)
    {
        if (!holds)
        {
            throw new Qcow2Exception(BlockErrorKind.Invalid, otherwise);
        }
    }
}
