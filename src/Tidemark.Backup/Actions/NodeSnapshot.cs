using System.Text.Json.Nodes;

namespace Tidemark.Backup.Actions;

/// <summary><c>blockdev-snapshot</c>: an overlay is put on top of a disk and becomes its active layer.</summary>
/// <param name="Node">The disk's active layer.</param>
/// <param name="Overlay">The node that is put on top of it; without a backing child so far.</param>
public sealed record NodeSnapshot(string Node, string Overlay) : TransactionAction
{
    /// <inheritdoc/>
    public override string Type => "blockdev-snapshot";

    /// <inheritdoc/>
    public override JsonObject ToData() => new() { ["node"] = Node, ["overlay"] = Overlay };
}
