namespace Tidemark.Images.Comparing;

/// <summary>How two disks differ.</summary>
public enum CompareDifference
{
    /// <summary>Not at all.</summary>
    None,

    /// <summary>One is longer, and zero where the other has ended.</summary>
    OnlyLength,

    /// <summary>The sizes, in strict mode.</summary>
    Length,

    /// <summary>What is allocated, in strict mode.</summary>
    Allocation,

    /// <summary>The bytes.</summary>
    Content,
}
