namespace Tidemark.Nbd.Protocol;

/// <summary>What a server says of an export ("Transmission flags").</summary>
[Flags]
public enum NbdTransmissionFlags
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Always set.</summary>
    HasFlags = 1,

    /// <summary>Writes are refused.</summary>
    ReadOnly = 1 << 1,

    /// <summary>FLUSH is understood.</summary>
    SendFlush = 1 << 2,

    /// <summary>Force unit access is understood.</summary>
    SendFua = 1 << 3,

    /// <summary>The disk turns.</summary>
    Rotational = 1 << 4,

    /// <summary>TRIM is understood.</summary>
    SendTrim = 1 << 5,

    /// <summary>WRITE_ZEROES is understood.</summary>
    SendWriteZeroes = 1 << 6,

    /// <summary>READ may ask for one unfragmented chunk.</summary>
    SendDontFragment = 1 << 7,

    /// <summary>A flush on one connection covers what other connections completed.</summary>
    CanMultiConnection = 1 << 8,

    /// <summary>RESIZE is understood: the export can grow.</summary>
    SendResize = 1 << 9,

    /// <summary>CACHE is understood.</summary>
    SendCache = 1 << 10,

    /// <summary>WRITE_ZEROES may be asked to fail rather than be slow.</summary>
    SendFastZero = 1 << 11,

    /// <summary>BLOCK_STATUS may name the contexts that are wanted (extended headers only).</summary>
    BlockStatusPayload = 1 << 12,
}
