using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Domains;

/// <summary>The domain verbs on images of a machine that is off.</summary>
[Trait("Category", "Interop")]
public sealed class DomainAtRestTests
{
    [Fact]
    public async Task Checkpoints_are_made_used_and_deleted_while_the_machine_is_off()
    {
        Assert.SkipWhen(Tool.Missing("qemu-img") is not null, Tool.Missing("qemu-img") ?? "");
        using var folder = new TemporaryDirectory();
        var image = folder.File("vda.qcow2");
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", image, "8M");
        await Tool.RunOkAsync("qemu-io", "-c", "write -P 1 0 1M", image);

        Assert.Contains("c1 created", await RunAsync(folder, image, "checkpoint-create-as", "c1"));
        Assert.Contains("\"name\": \"c1\"", await Tool.RunOkAsync(
            "qemu-img", "info", "--output=json", image), StringComparison.Ordinal);
        await Tool.RunOkAsync("qemu-io", "-c", "write -P 2 64k 64k", image);
        Assert.Contains("size='65536'", await RunAsync(folder, image, "checkpoint-dumpxml", "c1", "--size"));

        await File.WriteAllTextAsync(
            folder.File("inc.xml"),
            $"""
            <domainbackup><incremental>c1</incremental><disks><disk name='vda' type='file'>
            <target file='{folder.File("inc")}'/></disk></disks></domainbackup>
            """,
            TestContext.Current.CancellationToken);
        Assert.Contains("Completed", await RunAsync(folder, image, "backup-begin", folder.File("inc.xml")));
        await Tool.RunOkAsync("qemu-img", "rebase", "-u", "-b", "", folder.File("inc"));
        await Tool.RunOkAsync(
            "qemu-io", "-r", "-c", "read -P 0 0 64k", "-c", "read -P 2 64k 64k", folder.File("inc"));

        Assert.Contains("c1 deleted", await RunAsync(folder, image, "checkpoint-delete", "c1"));
        Assert.DoesNotContain("\"name\": \"c1\"", await Tool.RunOkAsync(
            "qemu-img", "info", "--output=json", image), StringComparison.Ordinal);
        Assert.DoesNotContain(
            "c1", await RunAsync(folder, image, "checkpoint-list", "--name"));
        await Tool.RunOkAsync("qemu-img", "check", "-q", image);
    }

    private static async Task<string> RunAsync(TemporaryDirectory folder, string image, params string[] arguments)
    {
        using var console = new TestConsole();
        var code = await console.RunAsync(
            [
                "domain", .. arguments, "--monitor", $"vda={image}", "--domain", "vm",
                "--state-dir", folder.File("state"),
            ]);
        Assert.True(code == 0, $"{string.Join(' ', arguments)}: {console.Error}");
        return console.Output;
    }
}
