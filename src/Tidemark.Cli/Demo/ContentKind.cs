namespace Tidemark.Cli.Demo;

/// <summary>What the demo's guest writes: the mix decides what compression and deduplication can do.</summary>
internal enum ContentKind
{
    /// <summary>Lines of a log: compresses well.</summary>
    Text,

    /// <summary>Random bytes, like media or encrypted files: does not compress.</summary>
    Random,

    /// <summary>One of a few blocks that recur all over the disk: stored once each.</summary>
    Repeated,

    /// <summary>Zeroes, written by a write-zeroes request.</summary>
    Zeroes,
}
