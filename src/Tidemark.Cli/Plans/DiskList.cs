using Tidemark.Backup.Definitions;

namespace Tidemark.Cli.Plans;

/// <summary>A virtual machine's disks on a command line: <c>vda=/path:qcow2,vdb=/path:raw:ro,sda=</c>.</summary>
internal static class DiskList
{
    /// <summary>How the list is written.</summary>
    public const string Form = "NAME=PATH[:FORMAT][:ro],…";

    /// <summary>Parses the list; a disk without a path has no medium.</summary>
    public static IReadOnlyList<DomainDisk> Parse(string text)
    {
        List<DomainDisk> disks = [];
        foreach (var part in text.Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            var equals = part.IndexOf('=', StringComparison.Ordinal);
            if (equals <= 0)
            {
                throw new UsageException($"'{part}' is no disk; write --disks {Form}");
            }

            var disk = ParseSource(new DomainDisk(part[..equals]), part[(equals + 1)..]);
            if (DiskName.Refuse(disk.Name) is { } reason)
            {
                throw new UsageException($"--disks: {reason}");
            }

            disks.Add(disks.TrueForAll(other => other.Name != disk.Name)
                ? disk
                : throw new UsageException($"--disks names '{disk.Name}' twice"));
        }

        return disks;
    }

    private static DomainDisk ParseSource(DomainDisk disk, string source)
    {
        if (source.EndsWith(":ro", StringComparison.Ordinal))
        {
            disk = disk with { IsReadOnly = true };
            source = source[..^3];
        }

        // A path may hold a colon, a format holds no slash.
        var colon = source.LastIndexOf(':');
        if (colon >= 0 && !source.AsSpan(colon).Contains('/'))
        {
            disk = disk with { Format = source[(colon + 1)..] };
            source = source[..colon];
        }

        return disk with
        {
            Path = source,
            HasMedium = source.Length > 0,
            Kind = source.StartsWith("/dev/", StringComparison.Ordinal) ? ImageKind.Block
                : source.StartsWith('/') ? ImageKind.File : ImageKind.Other,
        };
    }
}
