using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Qmp;

namespace Tidemark.Backup.Running;

/// <summary>Asks a hypervisor what it has and can.</summary>
internal static class HypervisorReader
{
    private const string GraphCommand = "x-debug-query-block-graph";
    private const string VersionCommand = "query-version";

    // How the embedded engine begins the package's name in its version.
    private const string EnginePackage = "Tidemark ";

    /// <summary>What the hypervisor can do: its commands, and whether it is the embedded engine.</summary>
    internal static async Task<HypervisorCapabilities> ReadCapabilitiesAsync(
        IMonitor monitor, CancellationToken cancellationToken)
    {
        var reply = await monitor.ExecuteAsync(new QmpCommand("query-commands"), cancellationToken)
            .ConfigureAwait(false);
        HashSet<string> names = new(StringComparer.Ordinal);
        foreach (var command in Understand(() => GraphField.Items(reply, "the reply of query-commands").ToList()))
        {
            names.Add(Understand(() => GraphField.Text(command, "name", "a command in query-commands")));
        }

        var breaksSnapshot = false;
        if (names.Contains(VersionCommand))
        {
            var version = await monitor.ExecuteAsync(new QmpCommand(VersionCommand), cancellationToken)
                .ConfigureAwait(false);
            breaksSnapshot = QmpVersion.Read(version).Package.StartsWith(EnginePackage, StringComparison.Ordinal);
        }

        return new HypervisorCapabilities { Commands = names, BreaksSnapshot = breaksSnapshot };
    }

    /// <summary>The graph at this moment.</summary>
    internal static async Task<GraphSnapshot> ReadGraphAsync(
        IMonitor monitor, HypervisorCapabilities capabilities, CancellationToken cancellationToken)
    {
        async Task<JsonElement> Ask(string name, JsonObject? arguments = null) => capabilities.Has(name)
            ? await monitor.ExecuteAsync(new QmpCommand(name, arguments), cancellationToken).ConfigureAwait(false)
            : default;

        // With the edges at hand the nodes' nested images are not needed, which grow with the square of a chain.
        var edges = await Ask(GraphCommand).ConfigureAwait(false);
        var nodes = await Ask(
            "query-named-block-nodes",
            edges.ValueKind == JsonValueKind.Undefined ? null : new JsonObject { ["flat"] = true })
                .ConfigureAwait(false);
        var replies = new GraphReplies
        {
            NamedBlockNodes = nodes,
            BlockExports = await Ask("query-block-exports").ConfigureAwait(false),
            Block = await Ask("query-block").ConfigureAwait(false),
            Jobs = await Ask("query-jobs").ConfigureAwait(false),
            BlockGraph = edges,
        };
        return Understand(() => GraphParser.Parse(replies));
    }

    /// <summary>The jobs at this moment.</summary>
    internal static async Task<IReadOnlyList<GraphJob>> ReadJobsAsync(IMonitor monitor,
        CancellationToken cancellationToken)
    {
        var reply = await monitor.ExecuteAsync(new QmpCommand("query-jobs"), cancellationToken).ConfigureAwait(false);
        return Understand(() => GraphParser.ParseJobs(reply));
    }

    private static T Understand<T>(Func<T> parse)
    {
        try
        {
            return parse();
        }
        catch (GraphException exception)
        {
            throw new BackupException(
                BackupErrorKind.Hypervisor, $"the hypervisor's answer is not understood: {exception.Message}",
                    exception);
        }
    }
}
