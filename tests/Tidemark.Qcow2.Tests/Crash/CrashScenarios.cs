using Tidemark.Testing;
using Tidemark.Testing.Images;

namespace Tidemark.Qcow2.Tests.Crash;

/// <summary>What power failures are tried on.</summary>
internal static class CrashScenarios
{
    /// <summary>A few operations on a few clusters.</summary>
    internal static Dictionary<string, Func<CrashScenario>> Short { get; } = new()
    {
        ["plain"] = () => Small(Created(4096)),
        ["wide refcounts"] = () => Small(new CrashScenario
        {
            Create = new Qcow2CreateOptions { Length = 8192, ClusterSize = 512, RefcountBits = 64 }, Steps = 0,
        }),
        ["narrow refcounts"] = () => Small(new CrashScenario
        {
            Create = new Qcow2CreateOptions { Length = 8192, ClusterSize = 512, RefcountBits = 1 }, Steps = 0,
        }),
        ["many L2 tables"] = () => Small(Created(160 * 1024)),
        ["backing"] = () => Small(Created(8192) with
        {
            Create = new Qcow2CreateOptions
            {
                Length = 8192, ClusterSize = 1024, BackingFile = "base", BackingFormat = "raw",
            },
            Backing = Base(5000),
        }),
        ["compressed"] = () => Small(Sketched(new ImageSketchOptions { DiskLength = 12_288 })),
        ["compressed zstd"] = () => Small(Sketched(
            new ImageSketchOptions { DiskLength = 12_288, ClusterBits = 10, CompressionType = 1 })),
        ["snapshots"] = () => Small(Sketched(new ImageSketchOptions { DiskLength = 8192, Snapshots = 1 })),
        ["version 2"] = () => Small(Sketched(new ImageSketchOptions { DiskLength = 8192, Version = 2 }) with
        {
            HasBitmaps = false,
        }),
    };

    /// <summary>Many operations, on tables that grow.</summary>
    internal static Dictionary<string, Func<CrashScenario>> Long { get; } = new()
    {
        ["small clusters"] = () => Created(96 * 1024) with { Steps = 60 },
        ["small clusters, wide refcounts"] = () => new CrashScenario
        {
            Create = new Qcow2CreateOptions { Length = 96 * 1024, ClusterSize = 512, RefcountBits = 64 }, Steps = 60,
        },
        ["many L2 tables"] = () => Created(1024 * 1024) with { Steps = 80 },
        ["larger clusters"] = () => new CrashScenario
        {
            Create = new Qcow2CreateOptions { Length = 256 * 1024, ClusterSize = 4096 }, Steps = 60,
        },
        ["a growing refcount table"] = () => new CrashScenario
        {
            Create = new Qcow2CreateOptions { Length = 2_600_000 / 512 * 512, ClusterSize = 512, RefcountBits = 64 },
            Steps = 30, MaximumWrite = 400,
        },
        ["snapshots and compressed clusters"] = () =>
            Sketched(new ImageSketchOptions { DiskLength = 98_304, Snapshots = 2 }) with { Steps = 60 },
        ["version 2 over a backing file"] = () => Sketched(
            new ImageSketchOptions { DiskLength = 98_304, Version = 2, BackingFile = "base", Holes = 7 }) with
        {
            Steps = 60, HasBitmaps = false, Backing = Base(60_000),
        },
    };

    private static CrashScenario Created(int length) => new()
    {
        Create = new Qcow2CreateOptions { Length = length, ClusterSize = 512 }, Steps = 0,
    };

    private static CrashScenario Sketched(ImageSketchOptions options) => new() { Sketch = options, Steps = 0 };

    private static CrashScenario Small(CrashScenario scenario) =>
        scenario with { Steps = 5, MaximumWrite = 3, Prelude = 2 };

    private static MemoryNode Base(int length)
    {
        var content = new byte[length];
        for (var at = 0; at < length; at++)
        {
            content[at] = (byte)(7 + (at / 512));
        }

        return new MemoryNode("base", content);
    }
}
