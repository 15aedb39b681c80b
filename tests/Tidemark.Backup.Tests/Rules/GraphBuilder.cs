using Tidemark.Backup.Graph;

namespace Tidemark.Backup.Tests.Rules;

/// <summary>Small graphs for tests.</summary>
internal static class GraphBuilder
{
    internal const long Size = 64 << 20;

    internal static NodeBitmap Bitmap(
        string name, bool recording = true, bool persistent = true, bool inconsistent = false, bool busy = false,
        long granularity = 65536) =>
        new(name, granularity, 0, recording, persistent, inconsistent, busy);

    internal static GraphNode Image(string name, string? backing, params NodeBitmap[] bitmaps) => new()
    {
        Name = name,
        Driver = "qcow2",
        Compat = "1.1",
        VirtualSize = Size,
        Filename = $"/srv/{name}.qcow2",
        Bitmaps = bitmaps,
        BackingNode = backing,
        Backing = backing is null ? NodeLink.None : NodeLink.Known,
    };

    internal static NodeChain Chain(params GraphNode[] layers) => new(layers, null);
}
