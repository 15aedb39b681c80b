using System.Text.Json.Nodes;

namespace Tidemark.Backup.Actions;

/// <summary><c>block-dirty-bitmap-remove</c>.</summary>
/// <param name="Node">The bitmap's node.</param>
/// <param name="Name">The bitmap's name.</param>
public sealed record BitmapRemove(string Node, string Name) : TransactionAction
{
    /// <inheritdoc/>
    public override string Type => "block-dirty-bitmap-remove";

    /// <inheritdoc/>
    public override JsonObject ToData() => new() { ["node"] = Node, ["name"] = Name };
}
