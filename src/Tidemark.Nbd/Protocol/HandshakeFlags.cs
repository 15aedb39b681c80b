namespace Tidemark.Nbd.Protocol;

/// <summary>What a server offers in its greeting, and a client takes up ("Handshake flags", "Client flags").</summary>
[Flags]
internal enum HandshakeFlags : ushort
{
    None = 0,

    /// <summary>Options and their replies have the structure of fixed newstyle.</summary>
    FixedNewstyle = 1,

    /// <summary>EXPORT_NAME's answer has no 124 bytes of padding.</summary>
    NoZeroes = 2,
}
