using Tidemark.Backup.Domains;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Tests.Rules;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Domains;

/// <summary>A name never goes over to another disk's image: an increment would go to the wrong backup.</summary>
public sealed class DiskNamingTests : IDisposable
{
    private readonly TemporaryDirectory _folder = new();
    private readonly DomainFolder _domain;

    public DiskNamingTests()
    {
        Directory.CreateDirectory(_folder.File("vm"));
        _domain = new DomainFolder(_folder.File("vm"));
    }

    [Fact]
    public void A_device_in_front_does_not_give_a_disk_the_name_of_another()
    {
        Look((Anonymous(0), [Image("vda", "a")]), (Anonymous(1), [Image("vdb", "b")]));
        Assert.Equal(
            [("vda", "a"), ("vdb", "b")],
            Look((Anonymous(1), [Image("vda", "a")]), (Anonymous(2), [Image("vdb", "b")])));
        Assert.Equal(
            [("vda", "a"), ("vdb", "b")],
            Look((Anonymous(0), [Image("vdb", "b")]), (Anonymous(1), [Image("vda", "a")])));
    }

    /// <summary>As a start with -drive makes them: no name of a node is anybody's choice.</summary>
    [Fact]
    public void Disks_whose_nodes_have_no_names_are_known_by_their_files()
    {
        Look((Anonymous(0), [Image("#block1", "a")]), (Anonymous(1), [Image("#block2", "b")]));
        Assert.Equal(
            [("device[0]", "a"), ("device[1]", "b")],
            Look((Anonymous(1), [Image("#block7", "a")]), (Anonymous(0), [Image("#block8", "b")])));
    }

    [Fact]
    public void Disks_that_were_exchanged_between_devices_keep_their_names()
    {
        Look((Named("d0"), [Image("vda", "a")]), (Named("d1"), [Image("vdb", "b")]));
        Assert.Equal(
            [("vda", "a"), ("vdb", "b")],
            Look((Named("d0"), [Image("disk0", "b")]), (Named("d1"), [Image("disk1", "a")])));
    }

    [Fact]
    public void An_overlay_of_somebody_else_does_not_change_a_name()
    {
        Look((Named("d0"), [Image("vda", "a")]), (Named("d1"), [Image("vdb", "b")]));
        Assert.Equal(
            [("vda", "over"), ("vdb", "b")],
            Look((Named("d0"), [Image("x", "over"), Image("vda", "a")]), (Named("d1"), [Image("vdb", "b")])));
    }

    /// <summary>What earlier versions kept knows no files.</summary>
    [Fact]
    public void Places_alone_do_not_take_a_name_from_the_disk_that_has_its_node()
    {
        Keep($$"""{"device:{{Anonymous(0)}}": "vda", "device:{{Anonymous(1)}}": "vdb"}""");
        Assert.Equal(
            [("vda", "a"), ("vdb", "b")],
            Look((Anonymous(1), [Image("vda", "a")]), (Anonymous(2), [Image("vdb", "b")])));
        Keep($$"""{"device:{{Named("d0")}}": "vda", "device:{{Named("d1")}}": "vdb"}""");
        Assert.Equal(
            [("vda", "over"), ("vdb", "b")],
            Look((Named("d0"), [Image("x", "over"), Image("y", "a")]), (Named("d1"), [Image("z", "b")])));
    }

    [Fact]
    public void A_new_disk_gets_no_name_that_is_taken()
    {
        Look((Named("d0"), [Image("vda", "a")]));
        Assert.Equal(
            [("d5", "new"), ("vda", "a")],
            Look((Named("d0"), [Image("copy", "a")]), (Named("d5"), [Image("vda", "new")])));
    }

    [Fact]
    public void A_base_that_two_disks_have_is_neither_s_file()
    {
        var golden = Image("golden", "golden");
        Look((Named("d0"), [Image("vda", "a"), golden]), (Named("d1"), [Image("vdb", "b"), golden]));
        Assert.Equal(
            [("vda", "a"), ("vdb", "other")],
            Look((Named("d0"), [Image("n1", "a"), golden]), (Named("d1"), [Image("n2", "other"), golden])));
        Assert.Equal(["file:/srv/a", "file:/srv/other"], Kept().Where(key => key.StartsWith("file:")));
    }

    /// <summary>The path of an overlay that was committed may be another disk's next.</summary>
    [Fact]
    public void A_file_that_is_no_active_layer_any_more_is_forgotten()
    {
        Look((Named("d0"), [Image("vda", "over"), Image("low", "a")]));
        Look((Named("d0"), [Image("low", "a")]));
        Assert.Equal([$"device:{Named("d0")}", "file:/srv/a"], Kept());
    }

    public void Dispose() => _folder.Dispose();

    private static string Anonymous(int number) => $"/machine/peripheral-anon/device[{number}]/virtio-backend";

    private static string Named(string id) => $"/machine/peripheral/{id}/virtio-backend";

    private static GraphNode Image(string node, string file) =>
        GraphBuilder.Image(node, null) with { Filename = $"/srv/{file}" };

    // The disks as one command after the other sees and keeps them, each with its active layer's file.
    private List<(string Name, string File)> Look(params (string Device, GraphNode[] Layers)[] disks)
    {
        List<GraphNode> nodes = [];
        foreach (var (_, layers) in disks)
        {
            nodes.AddRange(layers.Select((layer, index) => index + 1 == layers.Length ? layer : layer with
            {
                BackingNode = layers[index + 1].Name,
                Backing = NodeLink.Known,
            }));
        }

        var graph = new GraphSnapshot(
            [.. nodes.DistinctBy(node => node.Name)],
            [],
            [.. disks.Select(disk => new GraphDevice("", disk.Device, disk.Layers[0].Name, false))],
            []);
        var names = DiskNames.Read(_domain);
        var found = AttachedDiskFinder.Find(graph, names, _ => false, out var problem);
        Assert.Null(problem);
        DiskNames.Keep(_domain, names, found);
        return [.. found.Select(disk => (disk.Name, disk.Node.Filename["/srv/".Length..]))];
    }

    private void Keep(string json) => File.WriteAllText(_domain.DisksPath, json);

    private IEnumerable<string> Kept() => DiskNames.Read(_domain).Keys.Order(StringComparer.Ordinal);
}
