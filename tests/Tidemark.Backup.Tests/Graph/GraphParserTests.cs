using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Backup.Graph;

namespace Tidemark.Backup.Tests.Graph;

public sealed class GraphParserTests
{
    private const string Node =
        """
        {"node-name": "a", "drv": "qcow2", "ro": false,
         "image": {"virtual-size": 1048576, "filename": "/i/a", "format": "qcow2", "cluster-size": 65536,
           "format-specific": {"type": "qcow2", "data": {"compat": "1.1", "extended-l2": true}},
           "snapshots": [{"name": "s", "vm-state-size": 7, "id": "1"}]},
         "dirty-bitmaps": [{"name": "c", "recording": true, "persistent": true, "busy": false, "granularity": 65536,
           "count": 0}]}
        """;

    [Fact]
    public void What_is_needed_is_read()
    {
        var node = Parse(JsonNode.Parse(Node)!).Find("a")!;
        Assert.Equal(("qcow2", 1048576, "/i/a", "1.1"), (node.Driver, node.VirtualSize, node.Filename, node.Compat));
        Assert.Equal((65536, true), (node.ClusterSize, node.HasSubclusters));
        Assert.Equal(new InternalSnapshot("s", 7), Assert.Single(node.Snapshots));
        Assert.Equal(
            new NodeBitmap("c", 65536, 0, true, true, false, false), Assert.Single(node.Bitmaps));
    }

    [Theory]
    [InlineData("""{"driver": "qcow2", "file": {"driver": "file", "filename": "/i/a"}}""", "/i/a")]
    [InlineData("""{"backing": {}, "driver": "raw", "file": {"driver": "host_device", "filename": "/dev/a"}}""", "/dev/a")]
    [InlineData("""{"driver": "raw", "offset": 512, "file": {"driver": "file", "filename": "/i/a"}}""", null)]
    [InlineData("""{"driver": "raw", "file": {"driver": "file", "filename": "/i/a", "locking": "off"}}""", null)]
    [InlineData("""{"driver": "throttle", "file": {"driver": "file", "filename": "/i/a"}}""", null)]
    [InlineData("""{"driver": "qcow2", "file": {"driver": "nbd", "filename": "/i/a"}}""", null)]
    [InlineData("""{"driver": "qcow2", "file": "node"}""", null)]
    [InlineData("""{"driver": "qcow2", "file": {"driver": "file", "filename": "\uD800"}}""", null)]
    [InlineData("""{"driver": """, null)]
    [InlineData("[]", null)]
    public void An_image_that_is_described_is_known_by_its_file(string description, string? path)
    {
        var node = JsonNode.Parse(Node)!;
        node["image"]!["filename"] = "json:" + description;
        Assert.Equal(path ?? "json:" + description, Parse(node).Find("a")!.Filename);
    }

    [Fact]
    public void A_backing_image_that_is_described_is_found()
    {
        var top = JsonNode.Parse(Node)!;
        var below = JsonNode.Parse(Node)!;
        const string Description = """json:{"driver": "qcow2", "file": {"driver": "file", "filename": "/i/b"}}""";
        top["backing_file"] = Description;
        below["node-name"] = "b";
        below["image"]!["filename"] = Description;
        var graph = GraphParser.Parse(new GraphReplies
        {
            NamedBlockNodes = JsonSerializer.SerializeToElement(new JsonArray(top, below)),
        });
        Assert.Equal(["a", "b"], graph.ChainOf(graph.Find("a")!).Layers.Select(layer => layer.Name));
    }

    [Fact]
    public void Fields_that_are_not_known_are_ignored_wherever_they_stand()
    {
        var node = JsonNode.Parse(Node)!;
        foreach (var place in new[] { node, node["image"]!, node["dirty-bitmaps"]![0]!,
            node["image"]!["format-specific"]!["data"]!, node["image"]!["snapshots"]![0]! })
        {
            place["x-new"] = new JsonObject { ["deep"] = new JsonArray(1, 2) };
            place["also-new"] = 1.5;
        }

        Assert.Single(Parse(node).Find("a")!.Bitmaps);
    }

    [Theory]
    [InlineData("node-name", "'node-name'")]
    [InlineData("drv", "node 'a' in query-named-block-nodes has no 'drv'")]
    [InlineData("image", "node 'a' in query-named-block-nodes has no 'image'")]
    [InlineData("image.virtual-size", "has no 'virtual-size'")]
    [InlineData("image.format-specific.data", "has no 'data'")]
    [InlineData("image.format-specific.data.compat", "has no 'compat'")]
    [InlineData("dirty-bitmaps.0.recording", "bitmap 'c' of node 'a' in query-named-block-nodes has no 'recording'")]
    [InlineData("dirty-bitmaps.0.persistent", "has no 'persistent'")]
    [InlineData("dirty-bitmaps.0.busy", "has no 'busy'")]
    [InlineData("dirty-bitmaps.0.granularity", "has no 'granularity'")]
    [InlineData("dirty-bitmaps.0.count", "has no 'count'")]
    public void A_field_that_is_needed_and_missing_is_named(string path, string message)
    {
        var node = JsonNode.Parse(Node)!;
        var parts = path.Split('.');
        var place = node;
        foreach (var part in parts[..^1])
        {
            place = char.IsAsciiDigit(part[0]) ? place[int.Parse(part)]! : place[part]!;
        }

        place.AsObject().Remove(parts[^1]);
        Assert.Contains(
            message, Assert.Throws<GraphException>(() => Parse(node)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("drv", "7", "'drv'")]
    [InlineData("image", "[]", "'image'")]
    [InlineData("dirty-bitmaps", "{}", "'dirty-bitmaps'")]
    [InlineData("dirty-bitmaps", """[{"name": "c", "recording": "yes"}]""", "'granularity'")]
    [InlineData("ro", "1", "'ro'")]
    [InlineData("drv", """ "\ud800" """, "is no text")]
    public void A_field_of_another_type_is_named(string name, string value, string message)
    {
        var node = JsonNode.Parse(Node)!;
        node.AsObject().Remove(name);
        var text = $"{node.ToJsonString()[..^1]}, \"{name}\": {value}}}";
        using var document = JsonDocument.Parse($"[{text}]");
        var replies = new GraphReplies { NamedBlockNodes = document.RootElement.Clone() };
        Assert.Contains(
            message,
            Assert.Throws<GraphException>(() => GraphParser.Parse(replies)).Message,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"not": "a list"}""")]
    [InlineData("[1]")]
    [InlineData("[null]")]
    [InlineData("\"text\"")]
    public void A_reply_that_is_no_list_of_nodes_is_an_error(string reply)
    {
        using var document = JsonDocument.Parse(reply);
        Assert.Throws<GraphException>(() => GraphParser.Parse(
            new GraphReplies { NamedBlockNodes = document.RootElement.Clone() }));
    }

    [Fact]
    public void Bitmaps_of_jobs_have_no_name_and_are_passed_over()
    {
        var node = JsonNode.Parse(Node)!;
        node["dirty-bitmaps"]![0]!.AsObject().Remove("name");
        Assert.Empty(Parse(node).Find("a")!.Bitmaps);
    }

    private static GraphSnapshot Parse(JsonNode node)
    {
        using var document = JsonDocument.Parse(new JsonArray(node.DeepClone()).ToJsonString());
        return GraphParser.Parse(new GraphReplies { NamedBlockNodes = document.RootElement.Clone() });
    }
}
