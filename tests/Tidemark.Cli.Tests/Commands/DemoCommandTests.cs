using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Commands;

public sealed class DemoCommandTests : IDisposable
{
    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    [Trait("Category", "Long")]
    public async Task The_whole_tour_on_a_small_disk()
    {
        var keep = _directory.File("kept");
        using var console = new TestConsole();
        var exitCode = await console.RunAsync("demo", "--size", "64M", "--keep", keep);
        Assert.True(exitCode == 0, console.Error + console.Output);

        Assert.Contains("full, pull", console.Output);
        Assert.Contains("incremental, push", console.Output);
        Assert.Contains("incremental, pull", console.Output);
        Assert.DoesNotContain("DIFFERENT", console.Output);
        Assert.Contains("nothing is left", console.Output);
        Assert.DoesNotContain("error", console.Error);
        foreach (var number in new[] { 1, 2, 3 })
        {
            var restored = await File.ReadAllBytesAsync(
                Path.Combine(keep, $"restored/{number}.raw"), TestContext.Current.CancellationToken);
            var expected = await File.ReadAllBytesAsync(
                Path.Combine(keep, $"expected/{number}.raw"), TestContext.Current.CancellationToken);
            Assert.Equal(64 << 20, restored.Length);
            Assert.True(expected.AsSpan().SequenceEqual(restored));
        }
    }

    [Theory]
    [InlineData("--size", "63M")]
    [InlineData("--size", "66M")]
    [InlineData("--size", "much")]
    [InlineData("--size", "-1")]
    [InlineData("surplus")]
    public async Task A_wrong_command_line_is_a_usage_error(params string[] arguments)
    {
        using var console = new TestConsole();
        Assert.Equal(2, await console.RunAsync(["demo", .. arguments]));
        Assert.StartsWith("tidemark: error: ", console.Error);
    }

    [Fact]
    public async Task A_directory_that_is_not_empty_is_not_used()
    {
        await File.WriteAllTextAsync(_directory.File("mine"), "", TestContext.Current.CancellationToken);
        using var console = new TestConsole();
        Assert.Equal(2, await console.RunAsync("demo", "--keep", _directory.Path));
        Assert.Equal([_directory.File("mine")], Directory.GetFileSystemEntries(_directory.Path));
    }
}
