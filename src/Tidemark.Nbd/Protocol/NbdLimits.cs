namespace Tidemark.Nbd.Protocol;

/// <summary>The limits on everything that a peer may send, in one place. Lengths are bytes.</summary>
internal static class NbdLimits
{
    /// <summary>The longest string of the protocol: export names, context names, messages ("Conventions").</summary>
    internal const int MaximumStringLength = 4096;

    /// <summary>The longest data of an option that is read; a longer one is skipped and answered as too big.</summary>
    internal const int MaximumOptionLength = 64 * 1024;

    /// <summary>The longest data of an option that is skipped; beyond it the connection ends.</summary>
    internal const int MaximumOptionSkip = 1 << 20;

    /// <summary>How many options one client may send before the connection ends.</summary>
    internal const int MaximumOptions = 128;

    /// <summary>The longest data of a reply to an option that a client reads.</summary>
    internal const int MaximumOptionReplyLength = 16 * 1024;

    /// <summary>How many replies (exports listed, contexts, information items) one option may have.</summary>
    internal const int MaximumOptionReplies = 16 * 1024;

    /// <summary>The longest payload of a request or reply: what the document asks every peer to bear (2^25).</summary>
    internal const int MaximumPayload = 32 << 20;

    /// <summary>The largest minimum block size that the document allows.</summary>
    internal const int MaximumMinimumBlockSize = 64 * 1024;

    /// <summary>How many extents a server puts in one chunk; the document allows 2^20.</summary>
    internal const int MaximumExtentsSent = 64 * 1024;

    /// <summary>How many extents a client accepts in one chunk ("NBD_REPLY_TYPE_BLOCK_STATUS").</summary>
    internal const int MaximumExtentsReceived = 1 << 20;

    /// <summary>How many disjoint parts of one read a client tracks while its chunks come out of order.</summary>
    internal const int MaximumDisjointChunks = 4096;

    /// <summary>The longest error chunk: two strings' worth, so that fields of later versions fit.</summary>
    internal const int MaximumErrorChunkLength = 2 * MaximumStringLength;

    /// <summary>The longest payload of a request that is no write: 8 bytes and the numbers of the contexts
    /// wanted.</summary>
    internal const int MaximumFilterPayload = 8 + (4 * 4096);

    /// <summary>The port that IANA reserves for NBD.</summary>
    internal const int DefaultPort = 10809;
}
