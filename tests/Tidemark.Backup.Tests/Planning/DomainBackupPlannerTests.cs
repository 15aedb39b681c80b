using Tidemark.Backup.Actions;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Xml;
using static Tidemark.Backup.Tests.Rules.GraphBuilder;

namespace Tidemark.Backup.Tests.Planning;

public sealed class DomainBackupPlannerTests
{
    public static TheoryData<string> Scenarios => [.. DomainScenarios.Names];

    public static TheoryData<string, ErrorClass?, string> Conflicts => new()
    {
        { "<domainbackup><disks><disk name='x'/></disks></domainbackup>", ErrorClass.Unsupported, "no disk named 'x'" },
        { "<domainbackup><disks><disk name='vda' backup='no'/></disks></domainbackup>", ErrorClass.Unsupported,
            "no disks selected for backup" },
        { Pull("<server name='h'/>"), ErrorClass.OperationUnsupported, "must specify TCP port" },
        { Pull("<server transport='fd' fdgroup='g'/>"), ErrorClass.InvalidArgument, "group 'g' was not associated" },
        { Pull("<server tls='yes' name='h' port='1'/>"), null, "no certificates" },
        { Push("<disk name='vda' incremental='gone'/>"), ErrorClass.CheckpointInconsistent,
            "missing or broken bitmap 'gone' for disk 'vda': bitmap 'gone' is missing on node 'a1'" },
        { Push("<disk name='vda' incremental='stale'/>"), ErrorClass.CheckpointInconsistent, "is inconsistent" },
        { Push(Encrypted), ErrorClass.InvalidArgument, "nothing says where the key of secret 'u' is" },
        { Push("<disk name='vda'><driver type='vmdk'/></disk>"), ErrorClass.OperationUnsupported, "format 'vmdk'" },
        { Push("<disk name='vda' type='file'><target file='/srv/b1.qcow2'/></disk>"), ErrorClass.InvalidArgument,
            "is open as node 'b1'" },
        { Push(File("vda", "/t") + File("vdb", "/t")), ErrorClass.InvalidArgument, "is also that of 'vda'" },
        { Pull(Unix, "<disk name='vda' exportname='e'/><disk name='vdb' exportname='e'/>"), ErrorClass.Unsupported,
            "export name 'e'" },
        { Push("<disk name='vdm'/>"), null, "there is no node 'vdm'" },
        { Push("<disk name='vdj'/>"), ErrorClass.OperationUnsupported, "already in active block job" },
        { Push("<disk name='vdt'/><disk name='vda'/>"), null, "is also disk 'vdt'" },
    };

    [Theory]
    [MemberData(nameof(Scenarios))]
    public void The_plan_is_the_golden_one(string name)
    {
        var outcome = DomainScenarios.Plan(name);
        Assert.IsType<DomainBackupPlan>(outcome);
        Golden.Check($"Domain/{name}.txt", PlanText.Render(outcome));
    }

    [Theory]
    [MemberData(nameof(Conflicts))]
    public void What_cannot_be_planned_says_why_and_what_to_do(string xml, ErrorClass? errorClass, string message)
    {
        var conflict = Assert.IsType<PlanConflict>(DomainBackupPlanner.Plan(
            Request(xml), s_graph, HypervisorCapabilities.Assumed));
        Assert.Equal(errorClass, conflict.Class);
        Assert.Contains(message, conflict.ToString(), StringComparison.Ordinal);
        Assert.NotEmpty(conflict.Advice);
    }

    [Theory]
    [InlineData("c1", ErrorClass.OperationFailed, "domain moment c1 already exists")]
    [InlineData("foreign", ErrorClass.Unsupported, "bitmap 'foreign' is on node 'a1' of disk 'vda' already")]
    [InlineData("libvirt-tmp-activewrite", ErrorClass.InvalidArgument, "is reserved")]
    [InlineData("tidemark-0123456789abcdef", ErrorClass.InvalidArgument, "is reserved")]
    [InlineData("on-raw", ErrorClass.Unsupported, "checkpoint for disk vdr unsupported for storage type raw")]
    [InlineData("nowhere", ErrorClass.Unsupported, "no disk takes part in the checkpoint")]
    public void What_cannot_be_a_checkpoint_says_why(string name, ErrorClass errorClass, string message)
    {
        var disk = name switch { "on-raw" => "vdr", "nowhere" => null, _ => "vda" };
        var request = Request(Push("<disk name='vda'/>")) with
        {
            Checkpoint = new CheckpointDefinition
            {
                Name = name,
                Disks = disk is null
                    ? [new CheckpointDisk("vda") { HasBitmap = false }]
                    : [new CheckpointDisk(disk)],
            },
            Checkpoints = new Dictionary<string, CheckpointDefinition> { ["c1"] = new() { Name = "c1" } },
        };
        var conflict = Assert.IsType<PlanConflict>(
            DomainBackupPlanner.Plan(request, s_graph, HypervisorCapabilities.Assumed));
        Assert.Equal(errorClass, conflict.Class);
        Assert.Contains(message, conflict.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_checkpoint_that_nobody_defined_is_no_base_even_if_its_bitmap_is_there()
    {
        var request = Request(Push("<disk name='vda' incremental='foreign'/>")) with
        {
            Checkpoints = new Dictionary<string, CheckpointDefinition>(),
        };
        var conflict = Assert.IsType<PlanConflict>(
            DomainBackupPlanner.Plan(request, s_graph, HypervisorCapabilities.Assumed));
        Assert.Equal(ErrorClass.CheckpointNotFound, conflict.Class);
        Assert.Equal(("vda", "a1", "foreign"), (conflict.Disk, conflict.Node, conflict.Bitmap));
    }

    /// <summary>It may record from another instant on: somebody else's, or what a definition left out.</summary>
    [Fact]
    public void A_bitmap_of_that_name_on_a_disk_that_the_checkpoint_does_not_cover_is_no_base()
    {
        var request = Request(Push("<disk name='vda' incremental='c1'/><disk name='vdb' incremental='c1'/>")) with
        {
            Checkpoints = new Dictionary<string, CheckpointDefinition>
            {
                ["c1"] = new()
                {
                    Name = "c1",
                    Disks =
                    [
                        new CheckpointDisk("vda") { HasBitmap = true },
                        new CheckpointDisk("vdb") { HasBitmap = false },
                    ],
                },
            },
        };
        var conflict = Assert.IsType<PlanConflict>(
            DomainBackupPlanner.Plan(request, s_graph, HypervisorCapabilities.Assumed));
        Assert.Equal(("vdb", ErrorClass.CheckpointInconsistent), (conflict.Disk, conflict.Class));
        Assert.Contains("does not cover this disk", conflict.Reason, StringComparison.Ordinal);
        var plan = Assert.IsType<DomainBackupPlan>(DomainBackupPlanner.Plan(
            request with { FallBackToFull = true }, s_graph, HypervisorCapabilities.Assumed));
        Assert.Equal([DiskBackupMode.Incremental, DiskBackupMode.Full], plan.Disks.Select(disk => disk.Mode));
    }

    /// <summary>As with checkpoint-create: only one that was asked for by its name stands in the way.</summary>
    [Fact]
    public void A_disk_that_can_keep_no_bitmap_takes_no_part_in_a_checkpoint_of_all()
    {
        var request = Request(Push("<disk name='vda'/><disk name='vdr'/>")) with
        {
            Disks =
            [
                new DomainDisk("vda") { NodeName = "a1", Path = "/srv/a1.qcow2" },
                new DomainDisk("vdr") { NodeName = "r1", Path = "/srv/r1.raw" },
            ],
            Checkpoint = new CheckpointDefinition { Name = "new" },
        };
        var plan = Assert.IsType<DomainBackupPlan>(
            DomainBackupPlanner.Plan(request, s_graph, HypervisorCapabilities.Assumed));
        Assert.Equal([true, false], plan.Checkpoint!.Disks!.Select(disk => disk.HasBitmap));
        Assert.Equal([false, true], plan.Disks.Select(disk => disk.Checkpoint is null));
        Assert.Contains(plan.Notes, note => note.Contains("disk 'vdr' takes no part", StringComparison.Ordinal));
    }

    [Fact]
    public void A_disk_whose_file_has_no_full_path_says_what_is_to_be_given()
    {
        var request = Request(Push("<disk name='vdx'/>")) with
        {
            Disks = [new DomainDisk("vdx") { NodeName = "a1", Path = "", Kind = ImageKind.Other }],
        };
        var conflict = Assert.IsType<PlanConflict>(
            DomainBackupPlanner.Plan(request, s_graph, HypervisorCapabilities.Assumed));
        Assert.Contains("refusing to generate file name for disk 'vdx'", conflict.Reason, StringComparison.Ordinal);
        Assert.Contains("<target file='…'/>", conflict.Reason, StringComparison.Ordinal);
    }

    /// <summary>It has no bitmap of the checkpoint: the machine's other disks are increments all the same.</summary>
    [Fact]
    public void A_disk_that_is_new_is_read_whole_beside_increments()
    {
        var request = Request(Push("<disk name='vda' incremental='foreign'/><disk name='vdb' incremental='foreign'/>"));
        var conflict = Assert.IsType<PlanConflict>(
            DomainBackupPlanner.Plan(request, s_graph, HypervisorCapabilities.Assumed));
        Assert.Equal("vdb", conflict.Disk);
        var plan = Assert.IsType<DomainBackupPlan>(DomainBackupPlanner.Plan(
            request with { FallBackToFull = true }, s_graph, HypervisorCapabilities.Assumed));
        Assert.Equal(
            [DiskBackupMode.Incremental, DiskBackupMode.Full], plan.Disks.Select(disk => disk.Mode));
        Assert.Contains(plan.Notes, note => note.Contains("disk 'vdb' is read whole", StringComparison.Ordinal));
    }

    [Fact]
    public void A_hypervisor_that_cannot_encrypt_is_not_given_an_image_to_encrypt()
    {
        var request = Request(Push(Encrypted)) with
        {
            SecretFiles = new Dictionary<string, string> { ["u"] = "/k" },
        };
        Assert.IsType<DomainBackupPlan>(DomainBackupPlanner.Plan(request, s_graph, HypervisorCapabilities.Assumed));
        var bare = HypervisorCapabilities.Assumed with
        {
            Commands = HypervisorCapabilities.Assumed.Commands.Where(name => name != "object-add").ToHashSet(),
        };
        var conflict = Assert.IsType<PlanConflict>(DomainBackupPlanner.Plan(request, s_graph, bare));
        Assert.Contains("cannot encrypt an image", conflict.Reason, StringComparison.Ordinal);
        conflict = Assert.IsType<PlanConflict>(DomainBackupPlanner.Plan(
            Request(Pull("<server tls='yes' name='h' port='1'/>")) with { TlsDirectory = "/pki" }, s_graph, bare));
        Assert.Contains("cannot have TLS", conflict.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void A_key_that_no_image_asks_for_is_refused()
    {
        var request = Request(Push(Encrypted)) with
        {
            SecretFiles = new Dictionary<string, string> { ["u"] = "/k", ["other"] = "/k2" },
        };
        var conflict = Assert.IsType<PlanConflict>(
            DomainBackupPlanner.Plan(request, s_graph, HypervisorCapabilities.Assumed));
        Assert.Contains("secret 'other' is no image's", conflict.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void A_hypervisor_that_lacks_a_command_is_named_before_anything_is_done()
    {
        var old = new HypervisorCapabilities { Commands = new HashSet<string> { "transaction" } };
        var conflict = Assert.IsType<PlanConflict>(
            DomainBackupPlanner.Plan(Request(Push("<disk name='vda'/>")), s_graph, old));
        Assert.Contains("blockdev-add", conflict.Reason, StringComparison.Ordinal);
    }

    /// <summary>Never both, never elsewhere: in push mode on the disk's node and named to the job, in pull mode on the
    /// scratch, found there by the export, and the job gets none.</summary>
    [Fact]
    public void The_temporary_bitmap_lies_where_its_mode_needs_it_and_nowhere_else()
    {
        foreach (var name in DomainScenarios.Names)
        {
            var plan = Assert.IsType<DomainBackupPlan>(DomainScenarios.Plan(name));
            var actions = plan.Steps.OfType<PlanStep.Transaction>().Single().Actions;
            foreach (var add in actions.OfType<BitmapAdd>().Where(add => !add.Persistent))
            {
                var disk = plan.Disks.Single(disk => disk.Temporary == new BitmapReference(add.Node, add.Name));
                var job = actions.OfType<BackupJob>().Single(job => job.JobId == disk.JobId);
                Assert.True(add.Disabled);
                if (plan.Mode == BackupMode.Push)
                {
                    Assert.Equal((job.Node, add.Name), (add.Node, job.Bitmap));
                    Assert.Contains(
                        new UndoAction.TemporaryBitmap(add.Node, add.Name), plan.Steps.SelectMany(step => step.Undo));
                }
                else
                {
                    Assert.Equal(job.Target, add.Node);
                    Assert.Null(job.Bitmap);
                }
            }
        }
    }

    /// <summary>Undone last to first, everything that a plan makes is taken back: nodes, jobs, exports, bitmaps,
    /// files.</summary>
    [Fact]
    public void Whatever_is_made_is_taken_back()
    {
        foreach (var name in DomainScenarios.Names)
        {
            var plan = Assert.IsType<DomainBackupPlan>(DomainScenarios.Plan(name));
            var undo = plan.Steps.SelectMany(step => step.Undo).ToArray();
            foreach (var command in PlanCommands.Sent(plan.Steps))
            {
                var arguments = command.Arguments!;
                UndoAction? needed = command.Name switch
                {
                    "blockdev-add" => new UndoAction.Node((string)arguments["node-name"]!),
                    "blockdev-create" => new UndoAction.Job((string)arguments["job-id"]!),
                    "block-export-add" => new UndoAction.Export((string)arguments["id"]!),
                    "nbd-server-start" => new UndoAction.NbdServer(plan.Nbd!),
                    "object-add" => new UndoAction.ServerObject((string)arguments["id"]!),
                    _ => null,
                };
                Assert.True(needed is null || undo.Contains(needed), $"{name}: {command.Name}");
            }

            foreach (var action in plan.Steps.OfType<PlanStep.Transaction>().Single().Actions)
            {
                UndoAction? needed = action switch
                {
                    BackupJob job => new UndoAction.Job(job.JobId),
                    BitmapAdd { Persistent: true } add => new UndoAction.CheckpointBitmap(add.Node, add.Name),
                    _ => null,
                };
                Assert.True(needed is null || undo.Contains(needed), $"{name}: {action}");
            }
        }
    }

    private static readonly GraphSnapshot s_graph = new(
        [
            Image("a1", null, Bitmap("c1"), Bitmap("foreign"), Bitmap("stale", inconsistent: true)),
            Image("b1", null, Bitmap("c1")),
            Image("j1", null),
            new GraphNode
            {
                Name = "#block7", Driver = "mirror_top", VirtualSize = Size, BackingNode = "j1",
                Backing = NodeLink.Known,
            },
            new GraphNode { Name = "r1", Driver = "raw", VirtualSize = Size, Filename = "/srv/r1.raw" },
        ],
        [], [], []);

    private const string Unix = "<server transport='unix' socket='/run/s'/>";

    private const string Encrypted =
        "<disk name='vda' type='file'><target file='/t'><encryption format='luks'><secret type='passphrase' "
        + "usage='u'/></encryption></target></disk>";

    private static DomainBackupRequest Request(string xml) => new()
    {
        RunId = DomainScenarios.Run,
        Backup = BackupXml.Parse(xml),
        Disks =
        [
            new DomainDisk("vda") { NodeName = "a1", Path = "/srv/a1.qcow2" },
            new DomainDisk("vdb") { NodeName = "b1", Path = "/srv/b1.qcow2" },
            new DomainDisk("vdj") { NodeName = "j1", Path = "/srv/j1.qcow2" },
            new DomainDisk("vdm") { Path = "/srv/m.qcow2" },
            new DomainDisk("vdr") { NodeName = "r1", Path = "/srv/r1.raw" },
            new DomainDisk("vdt") { NodeName = "a1", Path = "/srv/other.qcow2" },
        ],
        Time = 1,
    };

    private static string Push(string disks) => $"<domainbackup><disks>{disks}</disks></domainbackup>";

    private static string Pull(string server, string disks = "<disk name='vda'/>") =>
        $"<domainbackup mode='pull'>{server}<disks>{disks}</disks></domainbackup>";

    private static string File(string disk, string path) =>
        $"<disk name='{disk}' type='file'><target file='{path}'/></disk>";
}
