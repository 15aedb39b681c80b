namespace Tidemark.Nbd.Protocol;

/// <summary>The flags of a request ("Command flags").</summary>
[Flags]
internal enum CommandFlags : ushort
{
    None = 0,
    ForceUnitAccess = 1,
    NoHole = 1 << 1,
    DontFragment = 1 << 2,
    RequestOne = 1 << 3,
    FastZero = 1 << 4,

    /// <summary>Extended headers only: the header's length is that of a payload which follows.</summary>
    PayloadLength = 1 << 5,
}
