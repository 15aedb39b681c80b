namespace Tidemark.Backup.Transfer;

/// <summary>Where a part of a chunk comes from.</summary>
internal enum PieceSource
{
    /// <summary>It is read from the frozen view.</summary>
    View,

    /// <summary>It reads as zero; nothing is read.</summary>
    Zero,

    /// <summary>It did not change: the parent's bytes.</summary>
    Parent,
}
