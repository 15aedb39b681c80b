using Tidemark.Backup.Domains;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Tests.Rules;

namespace Tidemark.Backup.Tests.Domains;

public sealed class AttachedDiskFinderTests
{
    private const string Device = "/machine/peripheral/virtio-disk0/virtio-backend";

    [Fact]
    public void A_disk_keeps_its_name_when_an_overlay_is_put_on_top()
    {
        var before = Graph("vda", GraphBuilder.Image("vda", null));
        var first = Assert.Single(Find(before, []));
        Assert.Equal(("vda", $"device:{Device}"), (first.Name, first.RootKey));
        var after = Graph("over", GraphBuilder.Image("over", "vda"), GraphBuilder.Image("vda", null));
        var second = Assert.Single(Find(after, new Dictionary<string, string> { [first.RootKey!] = first.Name }));
        Assert.Equal(("vda", "over"), (second.Name, second.Node.Name));
        Assert.Equal("over", Assert.Single(Find(after, [])).Name);
    }

    [Theory]
    [InlineData("vda")]
    [InlineData("virtio-disk0")]
    [InlineData("/srv/vda.qcow2")]
    public void A_disk_is_found_by_each_of_its_names(string name)
    {
        var disks = Find(Graph("vda", GraphBuilder.Image("vda", null)), []);
        Assert.Equal("vda", AttachedDiskFinder.Select(disks, name)?.Name);
        Assert.Null(AttachedDiskFinder.Select(disks, "vdb"));
    }

    [Fact]
    public void Without_users_the_tops_of_all_chains_are_the_disks()
    {
        var graph = new GraphSnapshot(
            [
                GraphBuilder.Image("vda", "base"), GraphBuilder.Image("base", null), GraphBuilder.Image("vdb", null),
                GraphBuilder.Image("scratch", "vdb"),
            ],
            [], [], []);
        Assert.Equal(["scratch", "vda"], Find(graph, []).Select(disk => disk.Name));
        Assert.Equal(
            ["vda", "vdb"],
            AttachedDiskFinder.Find(graph, new Dictionary<string, string>(), name => name == "scratch", out _)
                .Select(disk => disk.Name));
    }

    private static GraphSnapshot Graph(string used, params GraphNode[] nodes) =>
        new(nodes, [], [new GraphDevice("", Device, used, false)], []);

    private static IReadOnlyList<AttachedDisk> Find(GraphSnapshot graph, Dictionary<string, string> names)
    {
        var disks = AttachedDiskFinder.Find(graph, names, _ => false, out var problem);
        Assert.Null(problem);
        return disks;
    }
}
