using Tidemark.Blocks.Nodes;
using Tidemark.Testing.Images;

namespace Tidemark.Qcow2.Tests.Crash;

/// <summary>An image and what is done to it before its power fails.</summary>
internal sealed record CrashScenario
{
    /// <summary>How the image is created, if it is not sketched.</summary>
    internal Qcow2CreateOptions? Create { get; init; }

    /// <summary>The image as it is at the beginning, laid by hand.</summary>
    internal ImageSketchOptions? Sketch { get; init; }

    /// <summary>What answers for what the image has not allocated.</summary>
    internal BlockNode? Backing { get; init; }

    /// <summary>How many operations.</summary>
    internal required int Steps { get; init; }

    /// <summary>The longest write in sectors.</summary>
    internal int MaximumWrite { get; init; } = 20;

    /// <summary>Writes before recording begins.</summary>
    internal int Prelude { get; init; } = 5;

    /// <summary>Whether the disk has bitmaps, which are added and removed.</summary>
    internal bool HasBitmaps { get; init; } = true;
}
