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

    // The first version of QEMU's that was seen to survive the question for its nodes over an ended backup.
    private static readonly (int Major, int Minor) s_survives = (7, 2);

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

        var (isEngine, dies) = (false, false);
        if (names.Contains(VersionCommand))
        {
            var version = await monitor.ExecuteAsync(new QmpCommand(VersionCommand), cancellationToken)
                .ConfigureAwait(false);
            var read = QmpVersion.Read(version);
            isEngine = read.Package.StartsWith(EnginePackage, StringComparison.Ordinal);
            dies = !isEngine && (read.Major, read.Minor).CompareTo(s_survives) < 0;
        }

        return new HypervisorCapabilities
        {
            Commands = names,
            BreaksSnapshot = isEngine,
            DiesOverEndedBackups = dies,
        };
    }

    /// <summary>The graph at this moment.</summary>
    /// <param name="monitor">The hypervisor.</param>
    /// <param name="capabilities">What it can do.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <param name="endless">The jobs of a pull of ours, which do not end by themselves.</param>
    /// <exception cref="BackupException">Its answer is not understood; or it would die of the question.</exception>
    internal static async Task<GraphSnapshot> ReadGraphAsync(
        IMonitor monitor,
        HypervisorCapabilities capabilities,
        CancellationToken cancellationToken,
        IEnumerable<string>? endless = null)
    {
        async Task<JsonElement> Ask(string name, JsonObject? arguments = null) => capabilities.Has(name)
            ? await monitor.ExecuteAsync(new QmpCommand(name, arguments), cancellationToken).ConfigureAwait(false)
            : default;

        if (capabilities.DiesOverEndedBackups)
        {
            await RefuseOverBackupsAsync(monitor, endless ?? [], cancellationToken).ConfigureAwait(false);
        }

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

    // Better no answer than a guest that is killed by the question. A job that runs may end before the question.
    private static async Task RefuseOverBackupsAsync(
        IMonitor monitor, IEnumerable<string> endless, CancellationToken cancellationToken)
    {
        var jobs = await ReadJobsAsync(monitor, cancellationToken).ConfigureAwait(false);
        foreach (var job in jobs.Where(job => job.Type == "backup"))
        {
            if (job.IsConcluded)
            {
                throw new BackupException(
                    BackupErrorKind.Hypervisor,
                    $"backup job '{job.Id}' has ended and is still listed; this version of QEMU dies when it is asked "
                        + "for its nodes then. Let whoever began the job dismiss it (job-dismiss), then try again");
            }

            if (!job.IsStill && !endless.Contains(job.Id))
            {
                throw new BackupException(
                    BackupErrorKind.Hypervisor,
                    $"backup job '{job.Id}' runs; this version of QEMU dies when it is asked for its nodes while such "
                        + "a job ends. Wait for its end, then try again");
            }
        }
    }

    /// <summary>The jobs at this moment.</summary>
    internal static async Task<IReadOnlyList<GraphJob>> ReadJobsAsync(IMonitor monitor,
        CancellationToken cancellationToken)
    {
        var reply = await monitor.ExecuteAsync(new QmpCommand("query-jobs"), cancellationToken).ConfigureAwait(false);
        return Understand(() => GraphParser.ParseJobs(reply));
    }

    /// <summary>The exports at this moment.</summary>
    internal static async Task<IReadOnlyList<GraphExport>> ReadExportsAsync(
        IMonitor monitor, CancellationToken cancellationToken)
    {
        var reply = await monitor.ExecuteAsync(new QmpCommand("query-block-exports"), cancellationToken)
            .ConfigureAwait(false);
        return Understand(() => GraphParser.ParseExports(reply));
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
