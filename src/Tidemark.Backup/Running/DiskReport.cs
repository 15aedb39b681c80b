using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Running;

/// <summary>What a backup did with one disk.</summary>
public sealed record DiskReport
{
    /// <summary>The disk's name.</summary>
    public required string Name { get; init; }

    /// <summary>Its size in bytes.</summary>
    public required long Size { get; init; }

    /// <summary>How it was read.</summary>
    public required DiskKind Kind { get; init; }

    /// <summary>Why it was read so; empty for a plain increment.</summary>
    public required string Reason { get; init; }

    /// <summary>The parent restore point's snapshot id, or null.</summary>
    public string? Parent { get; init; }

    /// <summary>Bytes that had to be looked at: what the bitmap counted, or the whole disk.</summary>
    public required long BytesDirty { get; init; }

    /// <summary>Bytes of data that came from the hypervisor; zeroes are not transferred.</summary>
    public required long BytesRead { get; init; }

    /// <summary>Bytes that the disk added to the repository, compressed and encrypted.</summary>
    public required long BytesStored { get; init; }

    /// <summary>How long it took.</summary>
    public required double Seconds { get; init; }
}
