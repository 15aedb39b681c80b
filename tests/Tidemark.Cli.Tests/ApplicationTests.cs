namespace Tidemark.Cli.Tests;

public sealed class ApplicationTests
{
    [Fact]
    public async Task Version_goes_to_standard_output()
    {
        using var console = new TestConsole();
        Assert.Equal(0, await console.RunAsync("--version"));
        Assert.Matches(@"^tidemark \d+\.\d+\.\d+\n$", console.Output);
        Assert.Empty(console.Error);
    }

    [Fact]
    public async Task Help_goes_to_standard_output()
    {
        using var console = new TestConsole();
        Assert.Equal(0, await console.RunAsync("--help"));
        Assert.Contains("Usage:", console.Output);
        Assert.Empty(console.Error);
    }

    [Theory]
    [InlineData("frobnicate")]
    [InlineData("--frobnicate")]
    [InlineData("@file")]
    public async Task What_is_unknown_is_a_usage_error_by_name(string argument)
    {
        using var console = new TestConsole();
        Assert.Equal(2, await console.RunAsync(argument));
        Assert.Contains(argument, console.Error);
        Assert.StartsWith("tidemark: error: ", console.Error);
        Assert.Empty(console.Output);
    }
}
