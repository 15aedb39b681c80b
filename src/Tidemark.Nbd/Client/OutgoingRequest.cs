using Tidemark.Blocks.Extents;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

/// <summary>What a caller wants sent, and where the answer goes.</summary>
internal readonly record struct OutgoingRequest(NbdCommand Command, CommandFlags Flags, long Offset, uint Length)
{
    /// <summary>The bytes of a write.</summary>
    internal ReadOnlyMemory<byte> Payload { get; init; }

    /// <summary>Where a read goes.</summary>
    internal Memory<byte> Target { get; init; }

    /// <summary>Where block status goes.</summary>
    internal ExtentList? Extents { get; init; }

    /// <summary>The context wanted.</summary>
    internal uint ContextId { get; init; }

    /// <summary>Whether that context is a dirty bitmap.</summary>
    internal bool WantsDirty { get; init; }
}
