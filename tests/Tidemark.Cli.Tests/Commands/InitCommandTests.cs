using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Commands;

public sealed class InitCommandTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public async Task It_creates_a_repository_and_refuses_one_that_exists()
    {
        using var first = new TestConsole(new() { ["RESTIC_PASSWORD"] = "x" });
        Assert.Equal(0, await first.RunAsync("init", "--repo", _directory.File("r")));
        Assert.True(File.Exists(_directory.File("r/config")));
        Assert.Empty(first.Output);

        using var second = new TestConsole(new() { ["RESTIC_PASSWORD"] = "x" });
        Assert.Equal(1, await second.RunAsync("init", "--repo", _directory.File("r")));
        Assert.Contains(_directory.File("r"), second.Error);
        Assert.Single(Directory.GetFiles(_directory.File("r/keys")));
    }

    [Fact]
    public async Task Without_a_password_nothing_is_created()
    {
        using var console = new TestConsole();
        Assert.Equal(1, await console.RunAsync("init", "--repo", _directory.File("r")));
        Assert.False(Directory.Exists(_directory.File("r")));
    }

    [Theory]
    [InlineData("init")]
    [InlineData("init", "--repo")]
    [InlineData("init", "--repo", "")]
    [InlineData("init", "--repo", "x", "surplus")]
    [InlineData("init", "--repo", "x", "--password", "no password on a command line")]
    public async Task A_wrong_command_line_is_a_usage_error(params string[] arguments)
    {
        using var console = new TestConsole(new() { ["TIDEMARK_PASSWORD"] = "x" });
        Assert.Equal(2, await console.RunAsync(arguments));
        Assert.StartsWith("tidemark: error: ", console.Error);
        Assert.Empty(console.Output);
    }
}
