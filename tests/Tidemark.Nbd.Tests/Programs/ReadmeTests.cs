using System.Text.RegularExpressions;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests.Programs;

/// <summary>The programs of the library's README compile, run, and are those of the README.</summary>
public sealed partial class ReadmeTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(20);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("ListAndRead")]
    [InlineData("ServeFile")]
    [InlineData("CopyDirty")]
    public void A_program_is_that_of_the_readme(string name)
    {
        var root = Root();
        var readme = File.ReadAllText(Path.Combine(root, "src", "Tidemark.Nbd", "README.md"));
        var shown = Regex.Match(
            readme, $"<!-- program: {name} -->\n```csharp\n(.*?)```", RegexOptions.Singleline).Groups[1].Value;
        var source = File.ReadAllText(Path.Combine(root, "tests", "Tidemark.Nbd.Tests", "Programs", $"{name}.cs"));
        var body = source[source.IndexOf("// begin", StringComparison.Ordinal)..source.IndexOf(
            "// end", StringComparison.Ordinal)];
        Assert.Equal(
            Lines(shown).Where(line => !UsingPattern().IsMatch(line)), Lines(body).Where(line => line != "// begin"));
        Assert.Equal(
            Lines(shown).Where(line => UsingPattern().IsMatch(line)),
            Lines(source).Where(line => UsingPattern().IsMatch(line)));
    }

    [Fact]
    public async Task Listing_and_reading_works()
    {
        await using var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", new MemoryNode("disk", new byte[4096]));
        await ListAndRead.RunAsync([fixture.Uri("vda")]).WaitAsync(s_limit, Cancellation);
    }

    [Fact]
    public async Task Serving_a_file_works()
    {
        using var directory = new TemporaryDirectory();
        await File.WriteAllBytesAsync(directory.File("disk"), new byte[8192], Cancellation);
        var socket = directory.File("s");
        var serving = ServeFile.RunAsync([directory.File("disk"), socket]);
        while (!File.Exists(socket))
        {
            await Task.Yield();
        }

        var client = await NbdClient.ConnectAsync(
            NbdEndPoint.ForUnix(socket), cancellationToken: Cancellation);
        await client.WriteAsync(512, new byte[] { 1, 2, 3 }, cancellationToken: Cancellation);
        await client.DisposeAsync();
        await serving.WaitAsync(s_limit, Cancellation);
        Assert.Equal([1, 2, 3], (await File.ReadAllBytesAsync(directory.File("disk"), Cancellation))[512..515]);
    }

    [Fact]
    public async Task Copying_the_dirty_extents_works()
    {
        await using var fixture = await NbdFixture.StartAsync();
        var content = new byte[1 << 20];
        Random.Shared.NextBytes(content);
        var bitmap = new DirtyBitmap("b0", content.Length) { IsRecording = false };
        bitmap.Set(65536, 1);
        fixture.Export("vda", new MemoryNode("disk", content), new NbdExportOptions { Bitmaps = [bitmap] });
        await CopyDirty.RunAsync([fixture.Uri("vda"), "b0", fixture.Directory.File("copy")])
            .WaitAsync(s_limit, Cancellation);
        var expected = new byte[content.Length];
        content.AsSpan(65536, 65536).CopyTo(expected.AsSpan(65536));
        Assert.Equal(expected, await File.ReadAllBytesAsync(fixture.Directory.File("copy"), Cancellation));
    }

    private static IEnumerable<string> Lines(string text) =>
        text.Split('\n').Select(line => line.Trim()).Where(line => line.Length > 0);

    private static string Root()
    {
        var folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "Tidemark.slnx")))
        {
            folder = Path.GetDirectoryName(folder) ?? throw new InvalidOperationException("not inside the project");
        }

        return folder;
    }

    [GeneratedRegex("^using [A-Z][A-Za-z.]*;$")]
    private static partial Regex UsingPattern();
}
