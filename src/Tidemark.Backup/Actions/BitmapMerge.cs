using System.Text.Json.Nodes;

namespace Tidemark.Backup.Actions;

/// <summary><c>block-dirty-bitmap-merge</c>: the target gets every dirty bit of the sources.</summary>
/// <param name="Node">The target's node.</param>
/// <param name="Target">The target's name.</param>
/// <param name="Sources">The bitmaps to add, on any node of the same size.</param>
public sealed record BitmapMerge(string Node, string Target, IReadOnlyList<BitmapReference> Sources) : TransactionAction
{
    /// <inheritdoc/>
    public override string Type => "block-dirty-bitmap-merge";

    /// <inheritdoc/>
    public override JsonObject ToData()
    {
        JsonArray sources = [];
        foreach (var source in Sources)
        {
            sources.Add((JsonNode)new JsonObject { ["node"] = source.Node, ["name"] = source.Name });
        }

        return new JsonObject { ["node"] = Node, ["target"] = Target, ["bitmaps"] = sources };
    }
}
