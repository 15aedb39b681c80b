using Tidemark.Testing.Images;

namespace Tidemark.Qcow2.Tests.Hostile;

/// <summary>The images that damage is done to: every feature, alone and together.</summary>
internal static class HostileSketches
{
    internal static ImageSketch[] All()
    {
        List<ImageSketch> sketches = [];
        var seed = 0;
        foreach (var options in Options())
        {
            sketches.Add(ImageSketch.Lay(options with { Seed = ++seed }));
        }

        return [.. sketches];
    }

    internal static IEnumerable<ImageSketchOptions> Options()
    {
        ImageSketchOptions plain = new();
        foreach (var bits in new[] { 9, 10, 12 })
        {
            foreach (var order in new[] { 0, 3, 4, 6 })
            {
                yield return plain with { ClusterBits = bits, RefcountOrder = order };
                yield return plain with { ClusterBits = bits, RefcountOrder = order, Bitmaps = 2, Snapshots = 1 };
            }

            yield return plain with { ClusterBits = bits, Version = 2 };
            yield return plain with { ClusterBits = bits, Version = 2, Snapshots = 2, BackingFile = "base" };
            yield return plain with { ClusterBits = bits, CompressionType = 1, Bitmaps = 1 };
            yield return plain with { ClusterBits = bits, HasLazyRefcounts = true, HasUnknownExtension = true };
            yield return plain with { ClusterBits = bits, BackingFile = "base", BackingFormat = "raw", Bitmaps = 1 };
            yield return plain with { ClusterBits = bits, DiskLength = 3072, Bitmaps = 3, Snapshots = 3 };
        }

        yield return plain with { ClusterBits = 16, DiskLength = 150_016, Bitmaps = 1 };
        foreach (var bits in new[] { 14, 15 })
        {
            yield return plain with { ClusterBits = bits, HasExtendedL2 = true, DiskLength = 70_144 };
        }

        yield return plain with { DataFile = "data.raw", Bitmaps = 1 };
    }
}
