using System.Text.Json;

namespace Tidemark.Cli.Tests.Domains;

/// <summary>Each verb with virsh's options for it, at the embedded engine: what it prints, what it refuses.</summary>
public sealed class DomainVerbTests
{
    [Fact]
    public async Task Checkpoints_are_made_listed_described_and_deleted()
    {
        await using var scene = await EngineScene.StartAsync("vda", "vdb");
        Assert.Equal(
            "Domain checkpoint c1 created\n",
            await scene.DoAsync("checkpoint-create-as", "c1", "--description", "the <first>", "--granularity", "128K"));
        var xmlFile = scene.Write("c2", "<domaincheckpoint><name>c2</name></domaincheckpoint>");
        await scene.DoAsync("checkpoint-create", "--xmlfile", xmlFile);
        await scene.DoAsync("checkpoint-create-as", "c3", "--diskspec", "vdb", "--diskspec", "vda,checkpoint=no");

        Assert.Equal("c1\nc2\nc3\n", await scene.DoAsync("checkpoint-list", "--name"));
        Assert.Equal("c1\n", await scene.DoAsync("checkpoint-list", "--name", "--roots"));
        Assert.Equal("c3\n", await scene.DoAsync("checkpoint-list", "--name", "--leaves"));
        Assert.Equal("c1\nc2\n", await scene.DoAsync("checkpoint-list", "--name", "--no-leaves"));
        Assert.Equal("c2\n", await scene.DoAsync("checkpoint-list", "--name", "--from", "c1"));
        Assert.Equal("c2\nc3\n", await scene.DoAsync("checkpoint-list", "--name", "--from", "c1", "--descendants"));
        Assert.Equal("c1\nc2\nc3\n", await scene.DoAsync("checkpoint-list", "--name", "--topological"));
        Assert.Equal(
            "c1\n  |\n  +- c2\n      |\n      +- c3\n\n", await scene.DoAsync("checkpoint-list", "--tree"));
        Assert.Contains("valid, current", await scene.DoAsync("checkpoint-list", "--parent"));
        using (var list = JsonDocument.Parse(await scene.DoAsync("checkpoint-list", "--json")))
        {
            Assert.Equal("c3", list.RootElement.GetProperty("current").GetString());
            var first = list.RootElement.GetProperty("checkpoints")[0];
            Assert.Equal(131072, first.GetProperty("disks")[0].GetProperty("granularity").GetInt64());
        }

        Assert.Equal("c2\n", await scene.DoAsync("checkpoint-parent", "c3"));
        await scene.RefusedAsync(1, "'c1' has no parent", "checkpoint-parent", "--checkpointname", "c1");
        var info = await scene.DoAsync("checkpoint-info", "c3");
        Assert.Contains("Parent:         c2\n", info, StringComparison.Ordinal);
        Assert.Contains("Disk vdb:       valid\n", info, StringComparison.Ordinal);
        Assert.DoesNotContain("Disk vda", info, StringComparison.Ordinal);
        var xml = await scene.DoAsync("checkpoint-dumpxml", "c1", "--size");
        Assert.Contains("<description>the &lt;first&gt;</description>", xml, StringComparison.Ordinal);
        Assert.Contains("<disk name='vda' checkpoint='bitmap' bitmap='c1' size='0'/>", xml, StringComparison.Ordinal);
        await scene.RefusedAsync(1, "no domain checkpoint with matching name 'c9'", "checkpoint-info", "c9");
        await scene.RefusedAsync(1, "letters (a to z), digits", "checkpoint-create-as", "a b");
        await scene.RefusedAsync(1, "247 are the most", "checkpoint-create-as", new string('n', 248));
        await scene.DoAsync("checkpoint-create-as", new string('n', 247));
        await scene.DoAsync("checkpoint-delete", new string('n', 247));
        await scene.RefusedAsync(2, "file is empty", "checkpoint-create", "");
        await scene.RefusedAsync(2, "are two choices", "checkpoint-delete", "c1", "--children", "--children-only");

        Assert.Equal(
            "Domain checkpoint c3 deleted\n", await scene.DoAsync("checkpoint-delete", "c2", "--children-only"));
        Assert.Equal("Domain checkpoint c2 deleted\n", await scene.DoAsync("checkpoint-delete", "c2", "--metadata"));
        Assert.Contains("orphaned", await scene.DoAsync("checkpoint-list"));
        await scene.DoAsync("checkpoint-create-as", "c4");
        Assert.Equal(
            "Domain checkpoint c4 deleted\nDomain checkpoint c1 deleted\n",
            await scene.DoAsync("checkpoint-delete", "c1", "--children"));
    }

    [Fact]
    public async Task A_checkpoint_is_redefined_and_validated()
    {
        await using var scene = await EngineScene.StartAsync("vda");
        await scene.DoAsync("checkpoint-create-as", "c1");
        var xml = scene.Write("c1", await scene.DoAsync("checkpoint-dumpxml", "c1", "--no-domain"));
        await scene.DoAsync("checkpoint-delete", "c1", "--metadata");
        await scene.DoAsync("checkpoint-create", xml, "--redefine", "--redefine-validate");
        Assert.Equal("c1\n", await scene.DoAsync("checkpoint-list", "--name"));
        var ghost = scene.Write(
            "ghost", (await File.ReadAllTextAsync(xml, TestContext.Current.CancellationToken))
                .Replace("c1", "ghost", StringComparison.Ordinal));
        await scene.RefusedAsync(
            1, "missing or broken bitmap", "checkpoint-create", ghost, "--redefine", "--redefine-validate");
        await scene.DoAsync("checkpoint-create", ghost, "--redefine");
        Assert.Contains("missing", await scene.DoAsync("checkpoint-info", "ghost"));
        await scene.RefusedAsync(2, "needs --redefine", "checkpoint-create", xml, "--redefine-validate");
        await scene.RefusedAsync(
            2, "is for a new checkpoint", "checkpoint-create", xml, "--redefine", "--granularity", "64K");
        Assert.Contains(
            "<name>c7</name>", await scene.DoAsync("checkpoint-create-as", "c7", "--print-xml"));
        Assert.DoesNotContain("c7", await scene.DoAsync("checkpoint-list", "--name"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Snapshots_commits_pulls_and_copies_change_the_chain()
    {
        await using var scene = await EngineScene.StartAsync("vda", "vdb");
        await scene.DoAsync("checkpoint-create-as", "c1");
        Assert.Equal(
            $"disk vda now writes to {scene.File("over")}\n",
            await scene.DoAsync(
                "snapshot-create-as", "s1", "--disk-only", "--no-metadata", "--atomic", "--diskspec",
                $"vda,snapshot=external,driver=qcow2,file={scene.File("over")}", "--diskspec", "vdb,snapshot=no"));
        await scene.DoAsync("snapshot-create-as", "--name", "s2", "--diskspec", "vdb,snapshot=no");
        Assert.Contains($"{scene.File("over")[..^4]}over.s2", await scene.DoAsync("domblklist"));
        Assert.Equal(
            "Block commit of disk vda complete\n",
            await scene.DoAsync(
                "blockcommit", "--path", "vda", "--top", scene.File("over"), "--base", scene.Image("vda"), "--wait",
                "--bandwidth", "1000"));
        await scene.DoAsync("blockcommit", "vda", "--active", "--shallow", "--pivot", "--delete");
        Assert.False(File.Exists(scene.File("over.s2")));
        await scene.DoAsync("snapshot-create-as", "s3", "--diskspec", "vdb,snapshot=no");
        await scene.DoAsync("blockcommit", "vda", "--keep-overlay");
        await scene.DoAsync("blockpull", "vda", "--wait");
        await scene.DoAsync(
            "blockcopy", "vda", scene.File("raw.copy"), "--format", "raw", "--finish", "--transient-job");
        Assert.Equal(8 << 20, new FileInfo(scene.File("raw.copy")).Length);
        await scene.DoAsync("blockcopy", "--path", "vda", "--dest", scene.File("copy"), "--pivot", "--wait");
        using (var disks = JsonDocument.Parse(await scene.DoAsync("domblklist", "--json")))
        {
            Assert.Equal(scene.File("copy"), disks.RootElement[0].GetProperty("source").GetString());
        }

        Assert.Contains("State:          valid\n", await scene.DoAsync("checkpoint-info", "c1"));
        await scene.RefusedAsync(2, "--pivot or with --keep-overlay", "blockcommit", "vda", "--active");
        await scene.RefusedAsync(2, "are two bases", "blockcommit", "vda", "--shallow", "--base", "x");
        await scene.RefusedAsync(2, "that --keep-overlay keeps", "blockcommit", "vda", "--keep-overlay", "--delete");
        await scene.RefusedAsync(2, "--pivot or with --finish", "blockcopy", "vda", "/x");
        await scene.RefusedAsync(2, "DISK is missing", "blockpull", "--wait");
        await scene.RefusedAsync(2, "DISK is given twice", "blockpull", "vda", "--path", "vda");
        await scene.RefusedAsync(1, "there is nothing to pull", "blockpull", "vda");
        await scene.RefusedAsync(2, "snapshot=internal", "snapshot-create-as", "--diskspec", "vda,snapshot=internal");
    }

    [Fact]
    public async Task Backups_are_begun_described_and_ended()
    {
        await using var scene = await EngineScene.StartAsync("vda");
        var pull = scene.Write(
            "pull",
            $"<domainbackup mode='pull'><server transport='unix' socket='{scene.File("nbd")}'/><disks>"
                + $"<disk name='vda'><scratch file='{scene.File("s")}'/></disk></disks></domainbackup>");
        var checkpoint = scene.Write("c", "<domaincheckpoint><name>c1</name></domaincheckpoint>");
        await scene.RefusedAsync(1, "no domain backup job present", "backup-dumpxml");
        Assert.Equal("Job type:         None\n", await scene.DoAsync("domjobinfo"));
        Assert.Equal(
            "Backup started\n",
            await scene.DoAsync(
                "backup-begin", "--backupxml", pull, "--checkpointxml", checkpoint, "--keep-checkpoint"));
        Assert.Contains("exportname='vda'", await scene.DoAsync("backup-dumpxml"));
        Assert.Contains("Clients:          0\n", await scene.DoAsync("domjobinfo"));
        Assert.Contains("disk_temp_total: 8388608\n", await scene.DoAsync("domjobinfo", "--rawstats"));
        await scene.RefusedAsync(1, "another backup job is already running", "backup-begin");
        await scene.DoAsync("domjobabort", "--give-up");
        using (var ended = JsonDocument.Parse(await scene.DoAsync("domjobinfo", "--completed", "--json")))
        {
            Assert.Equal("Cancelled", ended.RootElement.GetProperty("type_name").GetString());
        }

        Assert.Equal("c1\n", await scene.DoAsync("checkpoint-list", "--name"));
        await scene.RefusedAsync(1, "no job is active", "domjobabort");
        Assert.Contains("Job type:         Completed\n", await scene.DoAsync("backup-begin", "--wait"));
        await scene.RefusedAsync(2, "is for a pull with --wait", "backup-begin", "--client-timeout", "1");
    }

    /// <summary>What virsh has and this has not is refused by its name, never passed over.</summary>
    [Theory]
    [InlineData("--quiesce", "checkpoint-create-as", "c1")]
    [InlineData("--quiesce", "checkpoint-create-as")]
    [InlineData("--quiesce", "checkpoint-create")]
    [InlineData("--preserve-domain-on-shutdown", "backup-begin")]
    [InlineData("--postcopy", "domjobabort")]
    [InlineData("--security-info", "checkpoint-dumpxml", "c1")]
    [InlineData("--keep-relative", "blockcommit", "vda", "--active", "--pivot")]
    [InlineData("--async", "blockcommit", "vda", "--active", "--pivot")]
    [InlineData("--synchronous-writes", "blockcopy", "vda", "/x", "--pivot")]
    [InlineData("--bytes", "blockpull", "vda")]
    [InlineData("--memspec", "snapshot-create-as", "s")]
    [InlineData("--live", "snapshot-create-as", "s")]
    [InlineData("--details", "domblklist")]
    public async Task What_is_not_there_is_refused_by_name(string option, params string[] verb)
    {
        using var console = new TestConsole();
        var code = await console.RunAsync(["domain", .. verb, "--monitor", "qmp:/nowhere", option]);
        Assert.Equal(2, code);
        Assert.Contains(option, console.Error, StringComparison.Ordinal);
    }
}
