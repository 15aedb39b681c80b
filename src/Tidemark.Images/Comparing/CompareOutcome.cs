namespace Tidemark.Images.Comparing;

/// <summary>What comparing two disks found.</summary>
/// <param name="Difference">What is different.</param>
/// <param name="Offset">Where, in bytes; the start of the 512-byte sector for a difference of content.</param>
public sealed record CompareOutcome(CompareDifference Difference, long Offset)
{
    /// <summary>Whether the images count as the same.</summary>
    public bool IsSame => Difference is CompareDifference.None or CompareDifference.OnlyLength;
}
