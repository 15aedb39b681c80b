namespace Tidemark.Nbd.Client;

/// <summary>What a server says of itself and its exports.</summary>
public sealed record NbdServerDescription
{
    /// <summary>Whether the handshake is fixed newstyle; without, only one export can be asked for, by entering
    /// it.</summary>
    public bool IsFixedNewstyle { get; init; }

    /// <summary>Whether the connection is encrypted.</summary>
    public bool IsEncrypted { get; init; }

    /// <summary>Whether structured replies were agreed on.</summary>
    public bool HasStructuredReplies { get; init; }

    /// <summary>Whether extended headers were agreed on.</summary>
    public bool HasExtendedHeaders { get; init; }

    /// <summary>The exports asked for, in the server's order.</summary>
    public IReadOnlyList<NbdExportDescription> Exports { get; init; } = [];
}
