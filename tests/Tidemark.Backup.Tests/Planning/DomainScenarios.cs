using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Xml;
using static Tidemark.Backup.Tests.Rules.GraphBuilder;

namespace Tidemark.Backup.Tests.Planning;

/// <summary>The scenarios of the golden plans, numbered as in docs/golden-plans.md. Graphs and XML are made
/// here.</summary>
internal static class DomainScenarios
{
    internal const string Run = "00112233445566ff";

    private const string Secret = "a85ee015-d543-4b20-ae4b-805a47944cf1";

    /// <summary>All scenarios that end in a plan.</summary>
    internal static IReadOnlyList<string> Names { get; } =
    [
        "03-push-full-with-checkpoint", "04-push-incremental-with-checkpoint", "05-push-incremental-from-older",
        "06-push-minimal", "07-push-mixed-modes", "08-pull-full-with-checkpoint",
        "09-pull-incremental-with-checkpoint", "10-pull-tcp", "20-push-incremental-across-snapshot",
        "21-pull-incremental-across-snapshot", "33-pull-reuse-external", "33-push-reuse-external",
        "34-pull-luks-scratch", "34-push-luks", "34-push-luks-qcow2", "35-pull-tls",
        "37-pull-fall-back-to-full", "41-push-incremental-raw-target", "41-push-incremental-raw-reuse-external",
        "42-pull-block-device",
        "42-push-block-device", "46-push-after-resize",
        "47-push-resized-across-snapshot", "48-push-after-commit", "50-push-full-of-raw-disk", "pull-through-filter",
        "pull-server-that-runs", "pull-embedded-engine", "push-large-clusters",
    ];

    internal static PlanOutcome Plan(string name) => DomainBackupPlanner.Plan(
        Request(name),
        Graph(name),
        HypervisorCapabilities.Assumed with { BreaksSnapshot = name == "pull-embedded-engine" });

    internal static DomainBackupRequest Request(string name) => new()
    {
        RunId = Run,
        Backup = BackupXml.Parse(Xml(name)),
        Checkpoint = name.EndsWith("with-checkpoint", StringComparison.Ordinal)
            ? new CheckpointDefinition { Name = "c9" }
            : null,
        Disks = Disks(name),
        Time = 1_700_000_000,
        ReuseExternal = name.EndsWith("reuse-external", StringComparison.Ordinal),
        FallBackToFull = name == "37-pull-fall-back-to-full",
        TlsDirectory = name == "35-pull-tls" ? "/etc/pki/vm" : null,
        SecretFiles = name.StartsWith("34-", StringComparison.Ordinal)
            ? new Dictionary<string, string> { [Secret] = "/etc/keys/backup" }
            : new Dictionary<string, string>(),
        NbdRuns = name == "pull-server-that-runs",
    };

    internal static GraphSnapshot Graph(string name)
    {
        var c1 = Bitmap("c1");
        var c2 = Bitmap("c2");
        GraphNode[] nodes = name switch
        {
            "20-push-incremental-across-snapshot" or "21-pull-incremental-across-snapshot" =>
                [Image("a2", "a1", c2, c1), Image("a1", "a0", c1), Image("a0", null), Image("b1", null, c1)],
            "37-pull-fall-back-to-full" => [Image("a1", null, Bitmap("c1", inconsistent: true)), Image("b1", null, c1)],
            "46-push-after-resize" =>
                [Image("a1", "a0", c1) with { VirtualSize = 2 * Size }, Image("a0", null), Image("b1", null, c1)],
            "47-push-resized-across-snapshot" =>
                [Image("a2", "a1", c1) with { VirtualSize = 2 * Size }, Image("a1", null, c1), Image("b1", null, c1)],
            "48-push-after-commit" => [Image("a2", "a0", c2, c1), Image("a0", null, c2, c1), Image("b1", null, c1)],
            "50-push-full-of-raw-disk" => [new GraphNode
            {
                Name = "a1", Driver = "raw", VirtualSize = Size, Filename = "/srv/a1.raw",
            }, Image("b1", null)],
            "pull-through-filter" =>
            [
                new GraphNode
                {
                    Name = "limit", Driver = "throttle", VirtualSize = Size, FileNode = "a2", File = NodeLink.Known,
                },
                Image("a2", "cor", c1),
                new GraphNode
                {
                    Name = "cor", Driver = "copy-on-read", VirtualSize = Size, FileNode = "a1", File = NodeLink.Known,
                },
                Image("a1", null, c1), Image("b1", null),
            ],
            "push-large-clusters" =>
                [Image("a1", null) with { ClusterSize = 2 << 20, HasSubclusters = true }, Image("b1", null)],
            _ => [Image("a1", "a0", c2, c1), Image("a0", null), Image("b1", null, c2, c1)],
        };
        return new GraphSnapshot(nodes, [], [], []);
    }

    private static DomainDisk[] Disks(string name)
    {
        var top = name switch
        {
            "20-push-incremental-across-snapshot" or "21-pull-incremental-across-snapshot"
                or "47-push-resized-across-snapshot" or "48-push-after-commit" => "a2",
            "pull-through-filter" => "limit",
            _ => "a1",
        };
        return
        [
            new DomainDisk("vda") { NodeName = top, Path = $"/srv/{top}.qcow2" },
            new DomainDisk("vdb") { NodeName = "b1", Path = "/srv/b1.qcow2" },
        ];
    }

    private static string Xml(string name) => name switch
    {
        "03-push-full-with-checkpoint" => Push(null, Target("vda", "qcow2"), Target("vdb", "raw")),
        "04-push-incremental-with-checkpoint" => Push("c2", Target("vda", "qcow2"), Target("vdb", "qcow2")),
        "05-push-incremental-from-older" => Push("c1", Target("vda"), "<disk name='vdb' backup='no'/>"),
        "06-push-minimal" => "<domainbackup/>",
        "07-push-mixed-modes" => Push(
            null,
            Target("vda").Replace("type=", "backupmode='incremental' incremental='c2' type=", StringComparison.Ordinal),
            Target("vdb").Replace("type=", "backupmode='full' type=", StringComparison.Ordinal)),
        "08-pull-full-with-checkpoint" => Pull(
            Unix, null, Scratch("vda"), Scratch("vdb", "exportname='disk-b'")),
        "09-pull-incremental-with-checkpoint" => Pull(
            Unix, "c2", Scratch("vda", "exportbitmap='my-bitmap'"), Scratch("vdb")),
        "10-pull-tcp" => Pull("<server name='localhost' port='10809'/>", null, Scratch("vdb")),
        "21-pull-incremental-across-snapshot" => Pull(Unix, "c1", Scratch("vda")),
        "33-pull-reuse-external" => Pull(Unix, null, Scratch("vda")),
        "33-push-reuse-external" => Push(null, Target("vda", "raw")),
        "34-pull-luks-scratch" => Pull(Unix, "c1", Luks(Scratch("vda"), "")),
        "34-push-luks" => Push(null, Luks(Target("vda", "raw"), "")),
        "34-push-luks-qcow2" => Push(
            "c1",
            Luks(
                Target("vda"),
                "<cipher name='serpent' size='256' mode='cbc' hash='sha256'/><ivgen name='plain64' hash='sha256'/>")),
        "35-pull-tls" => Pull("<server tls='yes' name='localhost' port='10809'/>", null, Scratch("vda")),
        "37-pull-fall-back-to-full" => Pull(Unix, "c1", Scratch("vda"), Scratch("vdb")),
        "41-push-incremental-raw-target" or "41-push-incremental-raw-reuse-external" =>
            Push("c2", Target("vda", "raw")),
        "42-pull-block-device" => Pull(
            Unix, null, "<disk name='vda' type='block'><scratch dev='/dev/vg/s'/></disk>"),
        "42-push-block-device" => Push(null, "<disk name='vda' type='block'><target dev='/dev/vg/t'/></disk>"),
        "50-push-full-of-raw-disk" or "push-large-clusters" or "33-full" => Push(null, Target("vda")),
        "pull-through-filter" or "pull-embedded-engine" or "pull-server-that-runs" => Pull(Unix, "c1", Scratch("vda")),
        _ => Push("c1", Target("vda")),
    };

    private const string Unix = "<server transport='unix' socket='/run/vm/nbd.sock'/>";

    private static string Push(string? since, params string[] disks) =>
        $"<domainbackup>{Since(since)}<disks>{string.Concat(disks)}</disks></domainbackup>";

    private static string Pull(string server, string? since, params string[] disks) =>
        $"<domainbackup mode='pull'>{Since(since)}{server}<disks>{string.Concat(disks)}</disks></domainbackup>";

    private static string Since(string? since) => since is null ? "" : $"<incremental>{since}</incremental>";

    private static string Target(string disk, string? format = null) =>
        $"<disk name='{disk}' type='file'><target file='/bk/{disk}'/>"
        + (format is null ? "" : $"<driver type='{format}'/>") + "</disk>";

    private static string Luks(string disk, string choices) => disk.Replace(
        "vda'/>",
        $"vda'><encryption format='luks'><secret type='passphrase' uuid='{Secret}'/>{choices}</encryption>"
            + (disk.Contains("<target", StringComparison.Ordinal) ? "</target>" : "</scratch>"),
        StringComparison.Ordinal);

    private static string Scratch(string disk, string attributes = "") =>
        $"<disk name='{disk}' type='file' {attributes}><scratch file='/scratch/{disk}'/></disk>";
}
