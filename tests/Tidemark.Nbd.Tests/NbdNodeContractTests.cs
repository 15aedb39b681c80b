using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Server;
using Tidemark.Testing;

namespace Tidemark.Nbd.Tests;

/// <summary>The contract of every node, over a node that reaches a disk through our client and our server.</summary>
public abstract class NbdNodeContractTests : NodeContract
{
    private readonly Dictionary<BlockNode, NbdFixture> _fixtures = [];

    /// <summary>How many connections the node has.</summary>
    protected virtual int Connections => 1;

    /// <summary>Makes the disk that the server exports.</summary>
    private protected abstract ValueTask<BlockNode> CreateDiskAsync(NbdFixture fixture, byte[] content);

    protected override async ValueTask<BlockNode> CreateAsync(byte[] content)
    {
        var fixture = await NbdFixture.StartAsync();
        fixture.Export("vda", await CreateDiskAsync(fixture, content), new NbdExportOptions { Writable = CanWrite });
        var node = await fixture.ConnectNodeAsync("vda", new Client.NbdNodeOptions { Connections = Connections });
        lock (_fixtures)
        {
            _fixtures.Add(node, fixture);
        }

        return node;
    }

    protected override ValueTask ReleaseAsync(BlockNode node)
    {
        lock (_fixtures)
        {
            return _fixtures.Remove(node, out var fixture) ? fixture.DisposeAsync() : default;
        }
    }
}

/// <summary>Over a disk in memory.</summary>
public sealed class NbdOverMemoryContractTests : NbdNodeContractTests
{
    private protected override ValueTask<BlockNode> CreateDiskAsync(NbdFixture fixture, byte[] content) =>
        new(new MemoryNode("disk", [.. content]));
}

/// <summary>Over a file, by four connections.</summary>
public sealed class NbdOverFileContractTests : NbdNodeContractTests
{
    protected override int Connections => 4;

    private protected override async ValueTask<BlockNode> CreateDiskAsync(NbdFixture fixture, byte[] content)
    {
        await File.WriteAllBytesAsync(fixture.Directory.File("disk.raw"), content);
        return RawFileNode.Open("disk", fixture.Directory.File("disk.raw"), readOnly: false);
    }
}

/// <summary>Over an export that may not be written.</summary>
public sealed class NbdReadOnlyContractTests : NbdNodeContractTests
{
    protected override bool CanWrite => false;

    private protected override ValueTask<BlockNode> CreateDiskAsync(NbdFixture fixture, byte[] content) =>
        new(new MemoryNode("disk", [.. content]));
}
