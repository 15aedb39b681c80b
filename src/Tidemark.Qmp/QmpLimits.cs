namespace Tidemark.Qmp;

/// <summary>What a QMP peer may make us hold. Each limit is checked before anything is allocated for it.</summary>
public static class QmpLimits
{
    /// <summary>The longest message in bytes: 64 MiB, the size at which QEMU's own reader gives up.</summary>
    public const int MaximumMessageLength = 64 << 20;

    /// <summary>How deep arrays and objects may nest.</summary>
    public const int MaximumNesting = 1024;

    /// <summary>How many commands of one client may be waiting for their replies.</summary>
    public const int MaximumPendingCommands = 4096;

    /// <summary>How many messages a server keeps for a client that does not read, before it closes the
    /// connection.</summary>
    public const int MaximumUnsentMessages = 65536;
}
