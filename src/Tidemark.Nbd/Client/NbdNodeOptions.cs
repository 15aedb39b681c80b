namespace Tidemark.Nbd.Client;

/// <summary>How a node uses an export.</summary>
public sealed record NbdNodeOptions
{
    /// <summary>The export; empty for the server's default one.</summary>
    public string ExportName { get; init; } = "";

    /// <summary>Metadata contexts besides <c>base:allocation</c>, which is always asked for.</summary>
    public IReadOnlyList<string> MetaContexts { get; init; } = [];

    /// <summary>How many connections, at most: one to a server that does not offer several, and no more than the server
    /// takes.</summary>
    public int Connections { get; init; } = 1;

    /// <summary>How a lost connection is made again; null, the default, for not at all.</summary>
    public NbdReconnectPolicy? Reconnect { get; init; }

    /// <summary>Whether the node refuses writes, whatever the server allows.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>How each connection is made; its export and contexts are replaced by those given here.</summary>
    public NbdClientOptions Client { get; init; } = new();
}
