using System.Text.Json.Nodes;
using Tidemark.Backup.Actions;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Rules;
using Tidemark.Backup.Tests.Planning;
using Tidemark.Qmp;
using static Tidemark.Backup.Tests.Rules.GraphBuilder;

namespace Tidemark.Backup.Tests.Schemas;

/// <summary>Every command that a plan renders is one that each supported QEMU says it understands.</summary>
public sealed class QmpSchemaTests
{
    [Fact]
    public void Each_supported_release_and_both_programs_are_recorded()
    {
        foreach (var release in new[] { "5.2", "7.2", "10.0", "11.1" })
        {
            Assert.Contains($"qemu-{release}", QmpSchema.All.Select(schema => schema.Name));
            Assert.Contains($"storage-daemon-{release}", QmpSchema.All.Select(schema => schema.Name));
        }
    }

    [Fact]
    public void Every_command_of_every_golden_plan_is_understood_and_so_is_what_takes_it_back()
    {
        var count = 0;
        foreach (var name in DomainScenarios.Names.Where(name => name != "pull-embedded-engine"))
        {
            var plan = Assert.IsType<DomainBackupPlan>(DomainScenarios.Plan(name));
            foreach (var command in PlanCommands.Sent(plan.Steps)
                .Concat(plan.Steps.SelectMany(step => step.Undo).SelectMany(UndoCommands.Of)))
            {
                Check(name, command);
                count++;
            }
        }

        foreach (var (name, plan) in BackupPlannerTests.PlansForQemu)
        {
            foreach (var command in PlanCommands.Sent(plan.Steps)
                .Concat(plan.Steps.SelectMany(step => step.Undo).SelectMany(UndoCommands.Of)))
            {
                Check(name, command);
                count++;
            }
        }

        Assert.True(count > 300, $"{count} commands");
    }

    [Fact]
    public void Every_action_of_every_rule_is_understood()
    {
        var chain = Chain(Image("t", "m", Bitmap("a")), Image("m", "b", Bitmap("a")), Image("b", null));
        var mirror = Image("n", null);
        List<TransactionAction> actions =
        [
            .. BitmapChain.Merge(chain, "a", "s", "x"), .. BitmapChain.Size(chain, "a"),
            .. BitmapChain.Commit(chain, "t", "b"), .. BitmapChain.Copy(chain, mirror, shallow: true),
            .. BitmapChain.Stream(chain, "t", null), .. BitmapChain.Snapshot(chain, "o"),
            .. BitmapChain.Migrate(chain, "vda", mirror), BitmapChain.Create(chain, "n", 4096),
            .. BitmapChain.Delete(chain, "a").Select(bitmap => new BitmapRemove(bitmap.Node, bitmap.Name)),
        ];
        Check("rules", new PlanStep.Transaction("", actions, []).ToCommand());
        Assert.True(actions.Count > 15);
    }

    /// <summary>The judge itself: what no QEMU understands is refused.</summary>
    [Theory]
    [InlineData("no-such-command", "{}")]
    [InlineData("blockdev-del", "{}")]
    [InlineData("blockdev-del", """{"node-name": "a", "surprise": 1}""")]
    [InlineData("blockdev-del", """{"node-name": 1}""")]
    [InlineData("blockdev-add", """{"driver": "no-such-driver", "node-name": "a"}""")]
    [InlineData("blockdev-add", """{"driver": "qcow2", "node-name": "a", "file": "f", "filename": "x"}""")]
    [InlineData("blockdev-add", """{"driver": "file", "node-name": "a"}""")]
    [InlineData("transaction", """{"actions": [{"type": "block-dirty-bitmap-add", "data": {"node": "a"}}]}""")]
    [InlineData("transaction", """{"actions": {}}""")]
    [InlineData("block-export-del", """{"id": "a", "mode": "softly"}""")]
    public void What_no_hypervisor_understands_is_refused(string name, string arguments)
    {
        var command = new QmpCommand(name, JsonNode.Parse(arguments)!.AsObject());
        Assert.All(QmpSchema.All, schema => Assert.NotNull(schema.Refuse(command)));
    }

    private static void Check(string name, QmpCommand command)
    {
        foreach (var schema in QmpSchema.All)
        {
            Assert.True(
                schema.Refuse(command) is null,
                $"{name}: {schema.Name} would refuse {PlanText.Render(command)}: {schema.Refuse(command)}");
        }
    }
}
