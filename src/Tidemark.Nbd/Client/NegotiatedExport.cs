using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

/// <summary>What the handshake agreed on.</summary>
internal sealed record NegotiatedExport
{
    internal required long Length { get; init; }

    internal required NbdTransmissionFlags Flags { get; init; }

    internal bool StructuredReplies { get; init; }

    internal bool ExtendedHeaders { get; init; }

    internal string Description { get; init; } = "";

    internal int MinimumBlockSize { get; init; } = 1;

    internal int PreferredBlockSize { get; init; } = 4096;

    internal int MaximumPayload { get; init; } = NbdLimits.MaximumPayload;

    /// <summary>Context names and the server's numbers for them.</summary>
    internal IReadOnlyDictionary<string, uint> Contexts { get; init; } = new Dictionary<string, uint>();
}
