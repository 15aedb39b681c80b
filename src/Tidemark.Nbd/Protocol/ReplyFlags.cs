namespace Tidemark.Nbd.Protocol;

/// <summary>The flags of a structured reply chunk ("Structured reply flags").</summary>
[Flags]
internal enum ReplyFlags : ushort
{
    None = 0,

    /// <summary>The chunk is the last of its reply.</summary>
    Done = 1,
}
