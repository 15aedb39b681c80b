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

    [Theory]
    [InlineData("-t", "image", "commit", "-t", "none", "disk.qcow2")]
    [InlineData("-T", "image", "check", "-T", "none", "disk.qcow2")]
    [InlineData("--limits", "image", "info", "--limits")]
    [InlineData("-C", "image", "convert", "-C", "a", "b")]
    [InlineData("--children", "domain", "checkpoint-info", "--children", "--monitor", "x")]
    [InlineData("--frob", "backup", "a", "--frob")]
    [InlineData("--frob", "nbd", "serve", "--frob", "a")]
    [InlineData("--frob", "plan", "validate", "--frob")]
    public async Task An_option_that_a_verb_does_not_have_is_the_one_thing_that_is_told(
        string option, params string[] line)
    {
        using var console = new TestConsole();
        Assert.NotEqual(0, await console.RunAsync(line));
        Assert.StartsWith(
            $"tidemark: error: Unrecognized or unsupported option '{option}'; put '--' before names if it is one\n",
            console.Error);
        Assert.Equal(2, console.Error.Count(character => character == '\n'));
    }

    [Theory]
    [InlineData("There is no verb 'amend'", "image", "amend", "disk.qcow2")]
    [InlineData("--mode: ", "backup", "a", "--repo", "r", "--name", "n", "--mode", "pulling")]
    [InlineData("-r: ", "image", "check", "-r", "everything", "a")]
    [InlineData("-m: Cannot parse argument 'many'", "image", "convert", "-m", "many", "a", "b")]
    [InlineData("for option '--timeout' as a number", "domain", "event", "--timeout", "long", "--monitor", "x")]
    [InlineData("--cache none", "image", "convert", "-t", "none", "a", "b")]
    [InlineData("--disk '='", "backup", "a", "--repo", "r", "--name", "n", "--disk", "=")]
    public async Task A_refused_value_is_told_with_its_option(string part, params string[] line)
    {
        using var console = new TestConsole();
        Assert.NotEqual(0, await console.RunAsync(line));
        Assert.StartsWith("tidemark: error: ", console.Error);
        Assert.Contains(part, console.Error.Split('\n')[0]);
    }

    [Fact]
    public async Task A_name_that_begins_with_a_dash_stands_behind_two()
    {
        using var console = new TestConsole();
        Assert.Equal(1, await console.RunAsync("image", "info", "--", "-t"));
        Assert.Contains("could not open '-t'", console.Error);
    }
}
