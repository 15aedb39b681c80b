using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Rules;

namespace Tidemark.Backup.Tests.Rules;

/// <summary>libvirt's own cases for R1, R2 and R4, where they lie beside the repository.</summary>
public sealed class BackupMergeVectorTests
{
    [Fact]
    public void The_rules_give_what_libvirt_gives()
    {
        var folder = Transcripts.Shared.Folder("vectors/libvirt");
        Assert.SkipWhen(folder is null, "no shared/vectors/libvirt beside the repository");
        using var document = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder!, "cases.json")));
        var names = document.RootElement.GetProperty("chain").EnumerateArray().Select(name =>
            name.GetString()!).ToArray();
        var ran = 0;
        foreach (var test in document.RootElement.GetProperty("cases").EnumerateArray())
        {
            var kind = test.GetProperty("kind").GetString()!;
            if (kind is not ("backupmerge" or "validate"))
            {
                continue;
            }

            var label = $"{kind} {test.GetProperty("name").GetString()}";
            using var data = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder!,
                test.GetProperty("nodedata").GetString()!)));
            var chain = ChainOf(data.RootElement, names);
            if (kind == "backupmerge")
            {
                var actions = BitmapChain.Merge(
                    chain,
                    test.GetProperty("incremental").GetString()!,
                    test.GetProperty("targetNode").GetString()!,
                    test.GetProperty("targetBitmap").GetString()!);
                JsonArray array = [.. actions.Select(action => action.ToJson())];
                var expected = JsonNode.Parse(File.ReadAllText(Path.Combine(folder!,
                    test.GetProperty("expect").GetString()!)));
                Assert.True(JsonNode.DeepEquals(expected, array), $"{label}: {array.ToJsonString()}");
                ran++;
            }
            else if (test.TryGetProperty("bitmap", out var bitmap) && test.TryGetProperty("expect", out var expect)
                && expect.ValueKind is JsonValueKind.True or JsonValueKind.False)
            {
                Assert.True(
                    expect.GetBoolean() == BitmapChain.Validate(chain, bitmap.GetString()!).IsValid, label);
                ran++;
            }
        }

        Assert.True(ran >= 4, $"only {ran} cases ran");
    }

    // The vectors name the chain themselves; their nodes carry no file names that would tell it.
    private static NodeChain ChainOf(JsonElement nodes, string[] names)
    {
        var graph = GraphParser.Parse(new GraphReplies { NamedBlockNodes = Named(nodes) });
        return new NodeChain(
            [.. names.Select(name => graph.Find(name) ?? new GraphNode { Name = name, Driver = "qcow2", VirtualSize =
                0 })], null);
    }

    private static JsonElement Named(JsonElement nodes) => nodes.Clone();
}
