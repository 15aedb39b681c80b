namespace Tidemark.Repository.Disks;

/// <summary>What was decided of a chunk.</summary>
internal enum ChunkState : byte
{
    /// <summary>Nothing yet, or its storing failed.</summary>
    Undecided,

    /// <summary>Its content was handed over and has no id yet.</summary>
    Pending,

    /// <summary>Its content was stored by this run.</summary>
    New,

    /// <summary>Its content was in the repository.</summary>
    Known,

    /// <summary>It is all zero.</summary>
    Zero,

    /// <summary>The parent's id stands.</summary>
    Inherited,
}
