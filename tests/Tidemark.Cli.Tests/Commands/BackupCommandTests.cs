using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Commands;

public sealed class BackupCommandTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Theory]
    [InlineData("backup", "--repo", "r", "--name", "vm")]
    [InlineData("backup", "disk.raw", "--name", "vm")]
    [InlineData("backup", "disk.raw", "--repo", "r")]
    [InlineData("backup", "disk.raw", "--repo", "r", "--name", "a/b")]
    [InlineData("backup", "disk.raw", "--repo", "r", "--name", "vm", "--mode", "sideways")]
    [InlineData("backup", "disk.raw", "--repo", "r", "--name", "vm", "--disk", "vda")]
    [InlineData("backup", "disk.raw", "--repo", "r", "--name", "vm", "--nbd", "nbd://localhost")]
    [InlineData("backup", "qmp:s.sock", "--repo", "r", "--name", "vm", "--disk", "vda=")]
    [InlineData("backup", "qmp:s.sock", "--repo", "r", "--name", "vm", "--disk", "vda", "--disk", "vda=b")]
    [InlineData("backup", "qmp:host:99999", "--repo", "r", "--name", "vm")]
    [InlineData("backup", "libvirt:vm", "--repo", "r", "--name", "vm")]
    [InlineData("restore", "latest", "--repo", "r")]
    [InlineData("restore", "--repo", "r", "--to", "x")]
    [InlineData("restore", "latest", "--repo", "r", "--to", "x", "--format", "vmdk")]
    [InlineData("snapshots")]
    public async Task A_wrong_command_line_is_a_usage_error_before_anything_is_opened(params string[] arguments)
    {
        using var console = new TestConsole(new() { ["TIDEMARK_PASSWORD"] = "x" });
        Assert.Equal(2, await console.RunAsync(arguments));
        Assert.StartsWith("tidemark: error: ", console.Error);
        Assert.Empty(console.Output);
    }

    [Fact]
    public async Task A_monitor_that_is_not_there_is_named()
    {
        var repository = _directory.File("r");
        using var init = new TestConsole(new() { ["TIDEMARK_PASSWORD"] = "x" });
        Assert.Equal(0, await init.RunAsync("init", "--repo", repository));
        using var console = new TestConsole(new() { ["TIDEMARK_PASSWORD"] = "x" });
        Assert.Equal(1, await console.RunAsync(
            "backup", $"qmp:{_directory.File("none.sock")}", "--repo", repository, "--name", "vm", "--state-dir",
            _directory.File("state")));
        Assert.Contains("none.sock", console.Error);
        Assert.DoesNotContain("   at ", console.Error);
    }
}
