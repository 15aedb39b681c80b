namespace Tidemark.Nbd.Protocol;

/// <summary>The kinds of chunks ("Structured reply types"). Errors have bit 15 set.</summary>
internal enum ReplyType : ushort
{
    None = 0,
    OffsetData = 1,
    OffsetHole = 2,
    BlockStatus = 5,
    ExtendedBlockStatus = 6,
    ErrorBit = 1 << 15,
    Error = ErrorBit + 1,
    ErrorOffset = ErrorBit + 2,
}
