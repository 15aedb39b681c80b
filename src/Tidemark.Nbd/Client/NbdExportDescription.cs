using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

/// <summary>What a server says of one export without its being entered.</summary>
public sealed record NbdExportDescription
{
    /// <summary>The name to ask for.</summary>
    public required string Name { get; init; }

    /// <summary>The server's words for people; empty when it has none.</summary>
    public string Description { get; init; } = "";

    /// <summary>The size in bytes.</summary>
    public long Length { get; init; }

    /// <summary>What the server can do with it.</summary>
    public NbdTransmissionFlags Flags { get; init; }

    /// <summary>Whether the server named block sizes; those below are the document's defaults if not.</summary>
    public bool HasBlockSizes { get; init; }

    /// <summary>Offsets and lengths must be multiples of this.</summary>
    public int MinimumBlockSize { get; init; } = 1;

    /// <summary>The size at which requests are efficient.</summary>
    public int PreferredBlockSize { get; init; } = 4096;

    /// <summary>The longest read or write, as the server has it: up to 2^32 - 1.</summary>
    public long MaximumBlockSize { get; init; } = NbdLimits.MaximumPayload;

    /// <summary>Every metadata context on offer; empty where the server has no structured replies.</summary>
    public IReadOnlyList<string> MetaContexts { get; init; } = [];
}
