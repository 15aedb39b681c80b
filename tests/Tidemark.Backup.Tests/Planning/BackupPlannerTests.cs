using System.Text.Json;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Planning;
using static Tidemark.Backup.Tests.Rules.GraphBuilder;

namespace Tidemark.Backup.Tests.Planning;

public sealed class BackupPlannerTests
{
    private const string Run = "00112233445566ff";
    private const string Old = "tidemark-0a0a0a0a0a0a0a0a";

    private static readonly HypervisorCapabilities s_qemu = new()
    {
        Commands = new HashSet<string>
        {
            "transaction", "blockdev-add", "blockdev-del", "query-named-block-nodes", "query-jobs", "job-cancel",
                "job-dismiss",
            "block-dirty-bitmap-remove", "blockdev-create", "block-export-add", "block-export-del",
                "query-block-exports",
        },
    };

    public static TheoryData<string> Cases =>
    [
        "pull-full-one-disk", "pull-incremental-two-disks", "pull-incremental-chain", "pull-existing-nbd-server",
        "push-full-two-disks", "push-incremental-one-disk", "push-incremental-chain-through-filter",
            "pull-mixed-raw-and-lost",
        "push-tcp", "pull-forced-full", "pull-embedded-engine", "push-embedded-engine",
    ];

    [Theory]
    [MemberData(nameof(Cases))]
    public void The_plan_is_the_golden_one(string name)
    {
        var (request, graph, parents) = Build(name);
        var hypervisor = s_qemu with { BreaksSnapshot = name.EndsWith("-embedded-engine", StringComparison.Ordinal) };
        Golden.Check($"Plans/{name}.txt", PlanText.Render(BackupPlanner.Plan(request, graph, parents, hypervisor)));
    }

    [Fact]
    public void The_recorded_graph_of_a_running_job_leads_through_its_filter_and_refuses_a_second_job()
    {
        var graph = Recorded("qemu-7.2-job-running.json");
        Assert.Equal("a", Assert.Single(DiskFinder.FindUsed(graph, out var problem)).Name);
        Assert.Null(problem);
        var conflict = Assert.IsType<PlanConflict>(BackupPlanner.Plan(Pull(), graph, NoParents, s_qemu));
        Assert.Contains("another job works on node 'a'", conflict.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void The_recorded_graph_without_its_edges_still_gives_chain_and_filter()
    {
        var graph = Recorded("qemu-7.2-job-running.json", withEdges: false);
        Assert.Equal("a", Assert.Single(DiskFinder.FindUsed(graph, out _)).Name);
        Assert.Equal(["a", "b"], graph.ChainOf(graph.Find("a")!).Layers.Select(layer => layer.Name));
    }

    [Theory]
    [InlineData("no-such-node")]
    [InlineData("same-node-twice")]
    [InlineData("same-name-twice")]
    [InlineData("bad-name")]
    [InlineData("nothing-used")]
    [InlineData("old-hypervisor")]
    [InlineData("pull-from-another-host")]
    public void What_cannot_be_planned_is_a_conflict_with_advice(string name)
    {
        var graph = Graph(Image("a", null), Image("b", null));
        var request = Pull() with
        {
            Disks = name switch
            {
                "no-such-node" => [new DiskSelection("x")],
                "same-node-twice" => [new DiskSelection("x", "a"), new DiskSelection("y", "a")],
                "same-name-twice" => [new DiskSelection("x", "a"), new DiskSelection("x", "b")],
                "bad-name" => [new DiskSelection("../x", "a")],
                "nothing-used" => [],
                _ => [new DiskSelection("a")],
            },
        };
        if (name == "pull-from-another-host")
        {
            request = request with { RemoteHost = "kvm7" };
        }

        var capabilities = name == "old-hypervisor"
            ? s_qemu with { Commands = new HashSet<string> { "transaction" } }
            : s_qemu;
        var outcome = BackupPlanner.Plan(request, graph, NoParents, capabilities);
        Golden.Check($"Plans/conflict-{name}.txt", PlanText.Render(outcome));
        Assert.IsType<PlanConflict>(outcome);
    }

    /// <summary>The golden plans for a hypervisor that is QEMU.</summary>
    internal static IEnumerable<(string Name, BackupPlan Plan)> PlansForQemu => Cases
        .Select(row => row.Data)
        .Where(name => !name.EndsWith("-embedded-engine", StringComparison.Ordinal))
        .Select(name =>
        {
            var (request, graph, parents) = Build(name);
            return (name, Assert.IsType<BackupPlan>(BackupPlanner.Plan(request, graph, parents, s_qemu)));
        });

    private static IReadOnlyDictionary<string, ParentDisk> NoParents { get; } = new Dictionary<string, ParentDisk>();

    private static (PlanRequest Request, GraphSnapshot Graph, IReadOnlyDictionary<string,
        ParentDisk> Parents) Build(string name)
    {
        var one = Parents(("vda", Old));
        var two = Parents(("vda", Old), ("vdb", Old + ".1"));
        var vda = Image("vda", null, Bitmap(Old), Bitmap("other-tool"));
        var vdb = Image("vdb", null, Bitmap(Old + ".1"));
        var chain = Graph(Image("vda", "base", Bitmap(Old)), Image("base", "root", Bitmap(Old)), Image("root", null));
        var throttled = Graph(
            new GraphNode { Name = "limit", Driver = "throttle", VirtualSize = Size, FileNode = "vda", File =
                NodeLink.Known },
            Image("vda", "cor", Bitmap(Old)),
            new GraphNode { Name = "cor", Driver = "copy-on-read", VirtualSize = Size, FileNode = "base", File =
                NodeLink.Known },
            Image("base", null, Bitmap(Old)));
        var raw = new GraphNode { Name = "vdc", Driver = "raw", VirtualSize = Size, Filename = "/dev/vg/vdc" };
        return name switch
        {
            "pull-full-one-disk" => (Pull(), Graph(Image("vda", null)), NoParents),
            "pull-incremental-two-disks" => (Pull(), Graph(vda, vdb), two),
            "pull-incremental-chain" => (Pull(Select("vda")), chain, one),
            "pull-existing-nbd-server" => (Pull() with
            {
                NbdRuns = true, RunDirectory = null, Nbd = NbdAddress.Tcp("127.0.0.1", 10809),
            }, Graph(vda), one),
            "push-full-two-disks" => (Push(), Graph(Image("vda", null), Image("vdb", null)), NoParents),
            "push-incremental-one-disk" => (Push(), Graph(vda), one),
            "push-incremental-chain-through-filter" => (Push(Select("vda=limit")), throttled, one),
            "pull-mixed-raw-and-lost" => (Pull(), Graph(Image("vda", null, Bitmap(Old, inconsistent: true)), vdb, raw),
                Parents(("vda", Old), ("vdb", Old + ".1"), ("vdc", null))),
            "push-tcp" => (Push() with
            {
                Nbd = NbdAddress.Tcp("192.0.2.1", 40000), RunDirectory = null, RemoteHost = "kvm7",
            }, Graph(vda), one),
            "pull-embedded-engine" => (Pull(), Graph(vda), one),
            "push-embedded-engine" => (Push(), Graph(vda), one),
            "pull-forced-full" => (Pull() with { Full = true }, Graph(vda), one),
            _ => throw new ArgumentException(name),
        };
    }

    private static DiskSelection[] Select(params string[] disks) =>
        [.. disks.Select(disk => disk.Split('=')).Select(part => new DiskSelection(part[0],
            part.ElementAtOrDefault(1)))];

    private static PlanRequest Pull(params DiskSelection[] disks) => new()
    {
        RunId = Run,
        Mode = BackupMode.Pull,
        Disks = disks,
        RunDirectory = $"/tmp/tidemark-{Run}",
        Nbd = NbdAddress.Unix($"/tmp/tidemark-{Run}/nbd.sock"),
    };

    private static PlanRequest Push(params DiskSelection[] disks) => Pull(disks) with { Mode = BackupMode.Push };

    private static Dictionary<string, ParentDisk> Parents(params (string Disk, string? Bitmap)[] disks) =>
        disks.ToDictionary(disk => disk.Disk, disk => new ParentDisk
        {
            SnapshotId = "feedc0de", Size = Size, ChunkSize = 1 << 20, BitmapName = disk.Bitmap, Granularity = 65536,
        });

    // Every node whose name begins with "vd" is a guest's disk.
    private static GraphSnapshot Graph(params GraphNode[] nodes) => new(
        nodes,
        [.. nodes.Where(node => node.Name.StartsWith("vd", StringComparison.Ordinal))
            .Select(node => new GraphExport($"guest-{node.Name}", node.Name, "nbd"))],
        [],
        []);

    private static GraphSnapshot Recorded(string file, bool withEdges = true)
    {
        using var document = JsonDocument.Parse(File.ReadAllText(Path.Combine(Golden.Folder, "Graphs", file)));
        var root = document.RootElement.Clone();
        return GraphParser.Parse(new GraphReplies
        {
            NamedBlockNodes = root.GetProperty("nodes"),
            BlockExports = root.GetProperty("exports"),
            Jobs = root.GetProperty("jobs"),
            BlockGraph = withEdges ? root.GetProperty("graph") : default,
        });
    }
}
