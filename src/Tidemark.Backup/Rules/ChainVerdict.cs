using Tidemark.Backup.Graph;

namespace Tidemark.Backup.Rules;

/// <summary>Whether a bitmap can be trusted along a backing chain.</summary>
/// <param name="Layers">The layers that carry it, top first; empty when it cannot be trusted.</param>
/// <param name="Reason">Why it cannot be trusted; null when it can.</param>
public sealed record ChainVerdict(IReadOnlyList<GraphNode> Layers, string? Reason)
{
    /// <summary>Whether the bitmap can be trusted.</summary>
    public bool IsValid => Reason is null;
}
