namespace Tidemark.Backup.Graph;

/// <summary>A disk's layers, active layer first, filters left out.</summary>
/// <param name="Layers">The layers that are known; never empty.</param>
/// <param name="Gap">Why the rest of the chain is not known, or null when the chain is complete.</param>
public sealed record NodeChain(IReadOnlyList<GraphNode> Layers, string? Gap)
{
    /// <summary>The active layer.</summary>
    public GraphNode Top => Layers[0];
}
