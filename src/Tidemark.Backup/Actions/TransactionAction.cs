using System.Text.Json.Nodes;

namespace Tidemark.Backup.Actions;

/// <summary>One action of a QMP <c>transaction</c>. All of a transaction happen at one instant, or none.</summary>
public abstract record TransactionAction
{
    private protected TransactionAction()
    {
    }

    /// <summary>The action's <c>type</c>.</summary>
    public abstract string Type { get; }

    /// <summary>The action's <c>data</c>, keys in QMP's customary order.</summary>
    public abstract JsonObject ToData();

    /// <summary>The whole action.</summary>
    public JsonObject ToJson() => new() { ["type"] = Type, ["data"] = ToData() };
}
