using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

/// <summary>What a caller wants sent, and where the answer goes.</summary>
internal readonly record struct OutgoingRequest(NbdCommand Command, CommandFlags Flags, long Offset, long Length)
{
    /// <summary>The bytes of a write, or what narrows a request for block status.</summary>
    internal ReadOnlyMemory<byte> Payload { get; init; }

    /// <summary>Further bytes of a write, behind the payload; null when there are none.</summary>
    internal IReadOnlyList<ReadOnlyMemory<byte>>? More { get; init; }

    internal int MoreCount => More?.Count ?? 0;

    /// <summary>Where a read goes.</summary>
    internal Memory<byte> Target { get; init; }

    /// <summary>What gives the memory later; null when <see cref="Target"/> is where a read goes.</summary>
    internal ILateTarget? Late { get; init; }

    /// <summary>Where block status goes.</summary>
    internal List<NbdExtent>? Extents { get; init; }

    /// <summary>The context wanted.</summary>
    internal uint ContextId { get; init; }
}
