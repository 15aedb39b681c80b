using System.Text.Json;

namespace Tidemark.Backup.Graph;

/// <summary>The replies from which a <see cref="GraphSnapshot"/> is made. Undefined elements stand for commands that
/// the hypervisor does not have.</summary>
public sealed record GraphReplies
{
    /// <summary>The list that <c>query-named-block-nodes</c> returned, flat or not.</summary>
    public required JsonElement NamedBlockNodes { get; init; }

    /// <summary>The list that <c>query-block-exports</c> returned.</summary>
    public JsonElement BlockExports { get; init; }

    /// <summary>The list that <c>query-block</c> returned.</summary>
    public JsonElement Block { get; init; }

    /// <summary>The list that <c>query-jobs</c> returned.</summary>
    public JsonElement Jobs { get; init; }

    /// <summary>The object that <c>x-debug-query-block-graph</c> returned.</summary>
    public JsonElement BlockGraph { get; init; }
}
