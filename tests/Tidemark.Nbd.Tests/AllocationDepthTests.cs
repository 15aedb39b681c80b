using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Files;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Qcow2;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>qemu:allocation-depth of a chain of three images.</summary>
public sealed class AllocationDepthTests
{
    private const long Length = 4 << 20;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    // base: raw of 1 MiB; middle: data at 2 MiB; top: data at 64 KiB, zeroes at 3 MiB.
    private static async Task CreateChainAsync(TemporaryDirectory directory)
    {
        await File.WriteAllBytesAsync(directory.File("base.raw"), new byte[1 << 20], Cancellation);
        await CreateAsync(directory, "middle.qcow2", "base.raw", "raw");
        await CreateAsync(directory, "top.qcow2", "middle.qcow2", "qcow2");
        await using (var middle = await OpenAsync(directory, "middle.qcow2"))
        {
            await middle.Top.WriteAsync(2 << 20, new byte[65536], cancellationToken: Cancellation);
        }

        await using var top = await OpenAsync(directory, "top.qcow2");
        await top.Top.WriteAsync(65536, new byte[65536], cancellationToken: Cancellation);
        await top.Top.WriteZeroesAsync(3 << 20, 65536, cancellationToken: Cancellation);
    }

    private static async Task CreateAsync(TemporaryDirectory directory, string name, string backing, string format)
    {
        await using var file = RawFileNode.Create("f", directory.File(name), 0);
        await Qcow2Image.CreateAsync(
            file,
            new Qcow2CreateOptions { Length = Length, BackingFile = backing, BackingFormat = format },
            Cancellation);
    }

    private static ValueTask<Qcow2Chain> OpenAsync(TemporaryDirectory directory, string name, bool readOnly = false) =>
        Qcow2Chain.OpenAsync(
            directory.File(name), new Qcow2ChainOptions { ReadOnly = readOnly, FollowNames = true }, Cancellation);

    private static async Task<List<NbdExtent>> AskAsync(NbdEndPoint endPoint, string export)
    {
        await using var client = await NbdClient.ConnectAsync(
            endPoint,
            new NbdClientOptions { ExportName = export, MetaContexts = [MetaContextNames.AllocationDepth] },
            Cancellation);
        var extents = new List<NbdExtent>();
        await client.GetMetaContextAsync(MetaContextNames.AllocationDepth, 0, Length, extents, Cancellation);
        return extents;
    }

    [Fact]
    public async Task The_depth_tells_which_image_holds_the_bytes()
    {
        await using var fixture = await NbdFixture.StartAsync();
        await CreateChainAsync(fixture.Directory);
        await using var chain = await OpenAsync(fixture.Directory, "top.qcow2", readOnly: true);
        using var backend = new Blocks.Graph.BlockGraph().CreateBackend(chain.Top, "the test");
        var depths = new DepthList();
        await backend.GetAllocationDepthAsync(0, Length, depths, Cancellation);
        DepthRun[] expected =
        [
            new(0, 65536, 3), new(65536, 65536, 1), new(131072, (2 << 20) - 131072, 3), new(2 << 20, 65536, 2),
            new((2 << 20) + 65536, (1 << 20) - 65536, 3), new(3 << 20, 65536, 1),
            new((3 << 20) + 65536, (1 << 20) - 65536, 3),
        ];
        Assert.Equal(expected, depths);
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task The_depth_is_that_of_qemu_nbd_extent_by_extent()
    {
        Assert.SkipWhen(Tool.Missing("qemu-nbd") is not null, Tool.Missing("qemu-nbd") ?? "");
        await using var fixture = await NbdFixture.StartAsync();
        await CreateChainAsync(fixture.Directory);
        var socket = fixture.Directory.File("qemu.sock");
        List<NbdExtent> theirs;
        using (var peer = await PeerServer.StartAsync(
            socket, "qemu-nbd", "-k", socket, "-r", "-A", "-t", "-f", "qcow2", "-x", "disk",
            fixture.Directory.File("top.qcow2")))
        {
            theirs = await AskAsync(peer.EndPoint, "disk");
        }

        await using var chain = await OpenAsync(fixture.Directory, "top.qcow2", readOnly: true);
        await using (fixture)
        {
            fixture.Server.AddExport(new NbdExport(
                "disk",
                new Blocks.Graph.BlockGraph().CreateBackend(chain.Top, "export"),
                new NbdExportOptions { AllocationDepth = true }));
            Assert.Equal(theirs, await AskAsync(fixture.EndPoint, "disk"));
        }
    }
}
