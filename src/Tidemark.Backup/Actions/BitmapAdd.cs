using System.Text.Json.Nodes;

namespace Tidemark.Backup.Actions;

/// <summary><c>block-dirty-bitmap-add</c>: a new, empty bitmap.</summary>
/// <param name="Node">The node that gets it.</param>
/// <param name="Name">Its name.</param>
/// <param name="Persistent">Whether the image keeps it.</param>
/// <param name="Disabled">Whether it does not record.</param>
/// <param name="Granularity">Bytes per bit; null for the hypervisor's own choice.</param>
public sealed record BitmapAdd(string Node, string Name, bool Persistent, bool Disabled, long? Granularity)
    : TransactionAction
{
    /// <inheritdoc/>
    public override string Type => "block-dirty-bitmap-add";

    /// <inheritdoc/>
    public override JsonObject ToData()
    {
        JsonObject data = new() { ["node"] = Node, ["name"] = Name, ["persistent"] = Persistent, ["disabled"] =
            Disabled };
        if (Granularity is { } granularity)
        {
            data["granularity"] = granularity;
        }

        return data;
    }
}
