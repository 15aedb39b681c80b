using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Backup.Actions;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Rules;
using Tidemark.Backup.Tests.Planning;
using Tidemark.Backup.Xml;

namespace Tidemark.Backup.Tests.Transcripts;

/// <summary>
/// Every transaction that libvirt sent in the recorded scenarios, and what it prepared before and published after,
/// beside what Tidemark plans from the same graph and the same XML. They lie beside the repository, if at all. What may
/// differ is listed in docs/golden-plans.md and nowhere else: see <see cref="Effects"/>, and the scenarios named below.
/// </summary>
public sealed class TranscriptTests
{
    // The recordings leave sizes out; these are the disks that are not of the usual size.
    private static readonly (string Scenario, string Node, long Bytes)[] s_sizes =
    [
        ("libvirt-46", "libvirt-1-format", 1_258_291_200), ("libvirt-47", "libvirt-7-format", 1_468_006_400),
        ("libvirt-50", "libvirt-13-format", 64 << 20),
    ];

    [Fact]
    public void Every_backup_has_the_effects_of_libvirts()
    {
        var ran = 0;
        foreach (var (scenario, run) in Runs("backup-begin"))
        {
            var at = run.Commands.FindIndex(sent => IsBackup(sent.Command));
            if (at < 0)
            {
                continue;
            }

            var graph = GraphBefore(scenario, run.Commands[at].Graph);
            var outcome = DomainBackupPlanner.Plan(
                Request(run, run.Commands[at].Command, graph), graph, HypervisorCapabilities.Assumed);
            var plan = Assert.IsType<DomainBackupPlan>(outcome);
            if (scenario.StartsWith("libvirt-47", StringComparison.Ordinal))
            {
                // libvirt's transaction fails here.
                Assert.Equal(DiskBackupMode.Full, Assert.Single(plan.Disks).Mode);
                Assert.Contains("resized across a snapshot", plan.Notes[0], StringComparison.Ordinal);
                continue;
            }

            var exported = run.Commands.FindLastIndex(sent => NameOf(sent.Command) == "block-export-add");
            var theirs = Effects.Of(run.Commands.Take(Math.Max(at, exported) + 1).Select(sent => sent.Command));
            var ours = Effects.Of(PlanCommands.Of(plan.Steps));
            Assert.True(
                theirs.SequenceEqual(ours),
                $"{scenario}\n{string.Join('\n', theirs)}\n--- ours\n{string.Join('\n', ours)}");
            ran++;
        }

        Assert.True(ran >= 31, $"{ran} backups compared");
    }

    [Fact]
    public void Every_other_transaction_is_libvirts_own()
    {
        var ran = 0;
        foreach (var (scenario, run) in Runs(""))
        {
            foreach (var (command, recorded) in run.Commands.Where(sent => NameOf(sent.Command) == "transaction"))
            {
                var theirs = command.GetProperty("arguments").GetProperty("actions");
                if (IsBackup(command) || theirs[0].ToString().Contains(BitmapChain.ActiveWriteName)
                    || (theirs[0].GetProperty("type").GetString() == "block-dirty-bitmap-remove"
                        && theirs[0].ToString().Contains(BitmapChain.SizeName)))
                {
                    // What frames a job or a question: one action, with no decision in it.
                    continue;
                }

                var ours = Decide(run.CommandLine, theirs, GraphBefore(scenario, recorded));
                Assert.True(
                    JsonNode.DeepEquals(JsonNode.Parse(theirs.GetRawText()), ours),
                    $"{scenario}: {run.CommandLine}\n{theirs}\n--- ours\n{ours.ToJsonString()}");
                ran++;
            }
        }

        Assert.True(ran >= 15, $"{ran} transactions compared");
    }

    [Fact]
    public void Every_error_of_a_definition_is_of_libvirts_class_and_in_its_words()
    {
        var ran = 0;
        foreach (var (scenario, run) in Runs("backup-begin"))
        {
            // That a file exists, and that another run is going on, is found by the run, not by the plan.
            if (run.Error is not { } error || !run.XmlFiles.Any()
                || (error.Contains("exists", StringComparison.Ordinal) && !error.Contains("moment"))
                || error.StartsWith("internal error", StringComparison.Ordinal)
                || error.Contains("inactive domain", StringComparison.Ordinal)
                || error.StartsWith("Timed out", StringComparison.Ordinal)
                || run.Commands.Exists(sent => NameOf(sent.Command) is "transaction" or "nbd-server-start"
                    or "object-add"))
            {
                continue;
            }

            var graph = run.Commands.FindLast(sent => sent.Graph is not null).Graph is { } recorded
                ? GraphBefore(scenario, recorded)
                : RecordedGraph.Fresh();
            string ours;
            try
            {
                var outcome = DomainBackupPlanner.Plan(
                    Request(run, default, graph) with
                    {
                        Checkpoints = scenario.Contains("-12-", StringComparison.Ordinal)
                            ? new Dictionary<string, CheckpointDefinition> { ["chk1"] = new(), ["chk5"] = new() }
                            : null,
                    },
                    graph,
                    HypervisorCapabilities.Assumed);
                ours = outcome is PlanConflict conflict ? conflict.ToString() : "a plan";
            }
            catch (BackupException exception)
            {
                ours = exception.Message;
            }

            var isSchema = error.StartsWith(ErrorClass.Schema.ToText(), StringComparison.Ordinal);
            var isKnown = isSchema
                ? ours.StartsWith(ErrorClass.Schema.ToText(), StringComparison.Ordinal)
                    || ours.Contains("unsupported disk backup type", StringComparison.Ordinal)
                    || run.CommandLine.Contains("err-no-type", StringComparison.Ordinal)
                : ours.StartsWith(error, StringComparison.Ordinal);
            Assert.True(isKnown, $"{scenario}: {run.CommandLine}\n{error}\n--- ours\n{ours}");
            ran++;
        }

        Assert.True(ran >= 12, $"{ran} errors compared");
    }

    private static JsonArray Decide(string commandLine, JsonElement theirs, GraphSnapshot graph)
    {
        var actions = theirs.EnumerateArray().ToArray();
        var nodes = actions.Select(action => Text(action, "node")).Distinct().ToArray();
        List<TransactionAction> ours = [];
        if (commandLine.Contains("checkpoint-delete", StringComparison.Ordinal))
        {
            var name = Text(actions[0], "name");
            ours.AddRange(Tops(graph, nodes).SelectMany(top => BitmapChain.Delete(graph.ChainOf(top), name))
                .Select(bitmap => new BitmapRemove(bitmap.Node, bitmap.Name)));
        }
        else if (commandLine.Contains("snapshot-create", StringComparison.Ordinal))
        {
            foreach (var snapshot in actions.Where(action => Type(action) == "blockdev-snapshot"))
            {
                ours.AddRange(BitmapChain.Snapshot(
                    graph.ChainOf(graph.Find(Text(snapshot, "node"))!), Text(snapshot, "overlay")));
            }
        }
        else if (commandLine.Contains("checkpoint-create", StringComparison.Ordinal))
        {
            ours.AddRange(nodes.Select(node => BitmapChain.Create(
                graph.ChainOf(graph.Find(node) ?? new GraphNode { Name = node, Driver = "qcow2", VirtualSize = 1 }),
                Text(actions[0], "name"),
                null)));
        }
        else if (commandLine.Contains("--size", StringComparison.Ordinal))
        {
            var name = actions[1].GetProperty("data").GetProperty("bitmaps")[0].GetProperty("name").GetString()!;
            ours.AddRange(nodes.SelectMany(node => BitmapChain.Size(graph.ChainOf(graph.Find(node)!), name)));
        }
        else
        {
            ours.AddRange(Change(commandLine, actions, graph));
        }

        return [.. ours.Select(action => action.ToJson())];
    }

    // A job moved data between layers: which, is in the sources of the first merge.
    private static IReadOnlyList<TransactionAction> Change(
        string commandLine, JsonElement[] actions, GraphSnapshot graph)
    {
        var merge = actions.First(action => Type(action) == "block-dirty-bitmap-merge");
        var target = graph.Find(Text(merge, "node"))!;
        var sources = actions.Where(action => Type(action) == "block-dirty-bitmap-merge")
            .SelectMany(action => action.GetProperty("data").GetProperty("bitmaps").EnumerateArray())
            .Select(source => source.GetProperty("node").GetString()!).Distinct().ToArray();
        if (commandLine.Contains("blockcopy", StringComparison.Ordinal))
        {
            return BitmapChain.Copy(graph.ChainOf(graph.Find(sources[0])!), target, shallow: false);
        }

        if (commandLine.Contains("blockpull", StringComparison.Ordinal))
        {
            return BitmapChain.Stream(ChainOf(graph, sources), target.Name, null);
        }

        // After the job the graph no longer links the layers that were committed: the sources tell.
        var top = graph.Find(sources[0])!;
        List<GraphNode> layers =
        [
            .. sources.Where(name => name != target.Name).Select(name => graph.Find(name)!),
            .. graph.ChainOf(target).Layers,
        ];
        if (!commandLine.Contains("--active", StringComparison.Ordinal))
        {
            layers.Insert(0, graph.Find("libvirt-10-format")!);
        }

        return BitmapChain.Commit(new NodeChain(layers, null), top.Name, target.Name);
    }

    // After a job the graph no longer links the layers that it dropped.
    private static NodeChain ChainOf(GraphSnapshot graph, string[] names) =>
        new([.. names.Select(name => graph.Find(name)!)], null);

    private static IEnumerable<GraphNode> Tops(GraphSnapshot graph, string[] nodes)
    {
        var all = nodes.Select(node => graph.Find(node)!).ToArray();
        return all.Where(node => !all.Any(other => other.BackingNode == node.Name));
    }

    private static DomainBackupRequest Request(TranscriptRun run, JsonElement transaction, GraphSnapshot graph)
    {
        var files = run.XmlFiles.Select(name =>
            File.ReadAllText(Path.Combine(Shared.Folder("facts/qmp/libvirt-xml")!, name))).ToArray();
        Dictionary<string, string> disks = [];
        // The disks' active layers, where no transaction names them: first those of after the snapshots.
        List<string> others = graph.Find("libvirt-10-format") is null
            ? ["libvirt-2-format", "libvirt-1-format"]
            : ["libvirt-10-format", "libvirt-7-format"];
        if (transaction.ValueKind == JsonValueKind.Object)
        {
            var actions = transaction.GetProperty("arguments").GetProperty("actions").EnumerateArray().ToArray();
            foreach (var job in actions.Where(action => Type(action) == "blockdev-backup"))
            {
                disks[Text(job, "job-id").Split('-')[1]] = Text(job, "device");
            }

            others = [.. actions.Where(action => Type(action) == "block-dirty-bitmap-add")
                .Where(action => action.GetProperty("data").GetProperty("persistent").GetBoolean())
                .Select(action => Text(action, "node"))];
        }

        others.RemoveAll(disks.ContainsValue);
        foreach (var name in new[] { "vda", "vdb" }.Where(name => !disks.ContainsKey(name)))
        {
            disks[name] = others.FirstOrDefault(node => graph.Find(node) is not null) ?? "libvirt-nowhere";
            others.Remove(disks[name]);
        }

        if (run.CommandLine.Contains("vdc", StringComparison.Ordinal))
        {
            disks.TryAdd("vdc", "libvirt-13-format");
        }

        return new DomainBackupRequest
        {
            RunId = "0000000000000001",
            Backup = files.Length == 0 ? new BackupDefinition() : BackupXml.Parse(files[0]),
            Checkpoint = files.Length > 1 ? CheckpointXml.Parse(files[1]) : null,
            Disks =
            [
                .. disks.OrderBy(disk => disk.Key, StringComparer.Ordinal).Select(disk => new DomainDisk(disk.Key)
                {
                    NodeName = disk.Value, Path = graph.Find(disk.Value)?.Filename ?? $"/srv/vm/{disk.Key}.qcow2",
                }),
            ],
            Time = 1_795_379_312,
            SecretFiles = files.Any(file => file.Contains("<secret", StringComparison.Ordinal))
                ? new Dictionary<string, string> { ["a85ee015-d543-4b20-ae4b-805a47944cf1"] = "/key" }
                : new Dictionary<string, string>(),
            ReuseExternal = run.CommandLine.Contains("--reuse-external", StringComparison.Ordinal),
        };
    }

    private static GraphSnapshot GraphBefore(string scenario, JsonElement? recorded) => recorded is not { } nodes
        ? RecordedGraph.Fresh()
        : RecordedGraph.Parse(nodes, s_sizes.Where(size => scenario.StartsWith(size.Scenario, StringComparison.Ordinal))
            .ToDictionary(size => size.Node, size => size.Bytes));

    private static IEnumerable<(string Scenario, TranscriptRun Run)> Runs(string command)
    {
        var folder = Shared.Folder("facts/qmp");
        Assert.SkipWhen(folder is null, "no shared/facts/qmp beside the repository");
        return Directory.EnumerateFiles(folder!, "libvirt-??-*.txt").Order().Select(Transcript.Read)
            .SelectMany(transcript => transcript.Runs
                .Where(run => run.CommandLine.StartsWith("virsh ", StringComparison.Ordinal)
                    && run.CommandLine.Contains(command, StringComparison.Ordinal))
                .Select(run => (transcript.Name, run)));
    }

    private static bool IsBackup(JsonElement command) =>
        NameOf(command) == "transaction" && command.ToString().Contains("blockdev-backup", StringComparison.Ordinal);

    private static string NameOf(JsonElement command) => command.GetProperty("execute").GetString()!;

    private static string Type(JsonElement action) => action.GetProperty("type").GetString()!;

    private static string Text(JsonElement action, string name) =>
        action.GetProperty("data").GetProperty(name).GetString()!;
}
