using Tidemark.Testing;
using Tidemark.Testing.Images;

namespace Tidemark.Cli.Tests.Images;

/// <summary><c>tidemark image map</c>, <c>check</c> and <c>info</c>, as processes, on images that are huge or deep:
/// each within 128 MiB of resident memory, the run-time's own included.</summary>
[Trait("Category", "Long")]
public sealed class ImageMemoryTests : IDisposable
{
    private const long Mib = 1 << 20, Limit = 128 * Mib;

    private readonly TemporaryDirectory _directory = new();

    public void Dispose() => _directory.Dispose();

    [Fact]
    public async Task One_tebibyte_with_a_million_scattered_clusters()
    {
        var path = _directory.File("huge.qcow2");
        await HugeImage.CreateAsync(path);
        await MeasureAsync(path);
        var map = await File.ReadAllTextAsync(path + ".map", TestContext.Current.CancellationToken);
        Assert.Equal(HugeImage.Clusters, map.AsSpan().Count("\"data\": true"));
    }

    [Fact]
    public async Task Sixty_four_tebibytes_of_nothing()
    {
        var path = _directory.File("empty.qcow2");
        using var console = new TestConsole();
        Assert.Equal(0, await console.RunAsync(["image", "create", "-q", "-f", "qcow2", path, "64T"]));
        await MeasureAsync(path);
    }

    [Fact]
    public async Task A_chain_of_200()
    {
        const int Depth = 200;
        using var console = new TestConsole();
        for (var index = 0; index < Depth; index++)
        {
            string[] backing = index == 0 ? [] : ["-b", $"{index - 1}.qcow2", "-F", "qcow2"];
            Assert.Equal(0, await console.RunAsync(
                ["image", "create", "-q", "-f", "qcow2", .. backing, _directory.File($"{index}.qcow2"), "64G"]));
        }

        var path = _directory.File($"{Depth - 1}.qcow2");
        await MeasureAsync(path);
        var info = await File.ReadAllTextAsync(path + ".info", TestContext.Current.CancellationToken);
        Assert.Equal(Depth, info.AsSpan().Count("\"virtual-size\": 68719476736"));
    }

    private static async Task MeasureAsync(string path)
    {
        foreach (var (name, line) in new (string, string[])[]
        {
            ("map", ["image", "map", "--output", "json", path]),
            ("map for people", ["image", "map", path]),
            ("check", ["image", "check", path]),
            ("info", ["image", "info", "--backing-chain", "--output", "json", path]),
        })
        {
            var (code, peak) = await MeasuredProcess.RunAsync(BuiltProgram.Path, line, $"{path}.{name}");
            TestContext.Current.TestOutputHelper?.WriteLine($"{name}: peak {peak / Mib} MiB");
            Assert.True(code == 0, $"{name}: exit code {code}: "
                + await File.ReadAllTextAsync($"{path}.{name}", TestContext.Current.CancellationToken));
            Assert.True(peak <= Limit, $"{name} held {peak / Mib} MiB");
        }
    }
}
