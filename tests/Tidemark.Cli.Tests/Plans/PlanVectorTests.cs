using System.Text.Json;

namespace Tidemark.Cli.Tests.Plans;

/// <summary>libvirt's own cases, where they lie beside the repository, through the command line.</summary>
public sealed class PlanVectorTests
{
    [Fact]
    public async Task Every_vector_comes_out_byte_for_byte()
    {
        var folder = Shared("vectors/libvirt");
        Assert.SkipWhen(folder is null, "no shared/vectors/libvirt beside the repository");
        using var document = JsonDocument.Parse(await File.ReadAllTextAsync(
            Path.Combine(folder!, "cases.json"), TestContext.Current.CancellationToken));
        var chain = document.RootElement.GetProperty("chain").EnumerateArray().Select(name => name.GetString()!)
            .ToArray();
        var ran = 0;
        foreach (var test in document.RootElement.GetProperty("cases").EnumerateArray())
        {
            var name = $"{Text(test, "kind")} {Text(test, "name")}";
            using var console = new TestConsole();
            var command = CommandOf(test, chain);
            var exit = await console.RunAsync(
            [
                "plan", command[0], "--nodes", Path.Combine(folder!, Text(test, "nodedata")), "--chain",
                string.Join(',', chain), .. command[1..],
            ]);
            ran++;
            if (test.GetProperty("expect").ValueKind is JsonValueKind.True or JsonValueKind.False)
            {
                Assert.True(test.GetProperty("expect").GetBoolean() == (exit == 0), $"{name}: {console.Output}");
                continue;
            }

            var expected = ExpectedOf(test, await File.ReadAllTextAsync(
                Path.Combine(folder!, Text(test, "expect")), TestContext.Current.CancellationToken));
            Assert.True(expected == console.Output, $"{name}:\n{console.Output}\n--- expected\n{expected}");
            Assert.Equal(expected.Length == 0 ? 1 : 0, exit);
        }

        Assert.True(ran > 0);
    }

    private static string[] CommandOf(JsonElement test, string[] chain) => Text(test, "kind") switch
    {
        "detect" => ["bitmaps"],
        "backupmerge" =>
        [
            "backup", "--checkpoint", Text(test, "incremental"), "--target", Text(test, "targetNode"), "--bitmap",
            Text(test, "targetBitmap"),
        ],
        "checkpointdelete" => ["checkpoint-delete", "--checkpoint", Text(test, "bitmap")],
        "validate" => ["validate", "--checkpoint", Text(test, "bitmap")],
        "blockcopy" when test.GetProperty("shallow").GetBoolean() =>
            ["copy", "--mirror", Text(test, "mirrorNode"), "--shallow"],
        "blockcopy" => ["copy", "--mirror", Text(test, "mirrorNode")],
        "blockcommit" =>
        [
            "commit", "--top", chain[test.GetProperty("top").GetInt32() - 1], "--base",
            chain[test.GetProperty("base").GetInt32() - 1],
        ],
        var kind => throw new InvalidOperationException($"a vector of an unknown kind: {kind}"),
    };

    // libvirt's files hold what its test program prints around the actions.
    private static string ExpectedOf(JsonElement test, string text)
    {
        if (Text(test, "kind") == "blockcommit")
        {
            text = text[(text.IndexOf('\n', StringComparison.Ordinal) + 1)..];
            return text.Length == 0 ? "[]\n" : text;
        }

        return text == "NULL\n" ? "" : text.EndsWith('\n') ? text : text + "\n";
    }

    private static string Text(JsonElement test, string name) => test.GetProperty(name).GetString()!;

    private static string? Shared(string path)
    {
        for (var folder = new DirectoryInfo(RepositoryRoot.Path).Parent; folder is not null; folder = folder.Parent)
        {
            var shared = Path.Combine(folder.FullName, "shared", path);
            if (Directory.Exists(shared))
            {
                return shared;
            }
        }

        return null;
    }
}
