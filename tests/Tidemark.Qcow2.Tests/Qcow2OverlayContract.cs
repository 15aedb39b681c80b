using Tidemark.Blocks.Nodes;
using Tidemark.Testing;

namespace Tidemark.Qcow2.Tests;

/// <summary>An overlay whose bytes all lie in its backing node, in
/// clusters of another size than the requests.</summary>
public sealed class Qcow2OverlayContract : NodeContract
{
    protected override async ValueTask<BlockNode> CreateAsync(byte[] content)
    {
        RecordingFile file = new() { IsAsynchronous = true };
        MemoryNode backing = new("base", [.. content]);
        await Qcow2Image.CreateAsync(
            file,
            new Qcow2CreateOptions { Length = content.Length, BackingFile = "base.raw", BackingFormat = "raw" },
            Token);
        return await Qcow2Node.OpenAsync("qcow2", file, new Qcow2OpenOptions { Backing = backing }, Token);
    }
}
