namespace Tidemark.Cli.Demo;

// How a restored disk is judged.
//
// The guest does not stop for a backup, so nobody outside can say which of its writes was the last before the instant.
// But the guest numbers its writes and has one under way at a time, and the demo notes, round the QMP transaction that
// is the instant, how many were acknowledged before it was sent (`first`) and how many had been sent when its reply was
// there (`last`). The instant lies after write k, for one k with first <= k <= last.
//
// So: the disk is made anew from the log up to `first`, by the demo's own code, as a raw file. The restored disk must
// be equal to it, byte for byte; or else equal to it after one more write, or two, … up to `last`. A disk that mixes
// two instants, misses a write or has one too many is equal to none of them.
//
// A write that changes nothing (the same bytes again) makes two neighbouring k equal; the smaller one is reported.

/// <summary>Says which instant of the guest's log a restored disk is, if it is one.</summary>
internal static class InstantJudge
{
    /// <summary>Compares a restored disk with the disk at each instant that is possible.</summary>
    /// <param name="log">The guest's log.</param>
    /// <param name="expected">The disk after write <paramref name="first"/>; it
    /// is left at the instant that is returned.</param>
    /// <param name="restored">The restored disk.</param>
    /// <param name="first">The last write that is certainly part of the instant.</param>
    /// <param name="last">The last write that may be part of it.</param>
    /// <param name="cancellationToken">Ends the comparison.</param>
    /// <returns>The number of the last write that the disk contains, or
    /// null: it is no instant of the guest's disk.</returns>
    public static int? FindInstant(
        GuestLog log, DiskImage expected, DiskImage restored, int first, int last, CancellationToken cancellationToken)
    {
        if (expected.FindDifferences(restored, cancellationToken) is not { } differences)
        {
            return null;
        }

        var differing = differences.ToHashSet();
        var instant = first;
        foreach (var write in log.Between(first, last))
        {
            if (differing.Count == 0)
            {
                break;
            }

            expected.Apply([write], cancellationToken);
            instant = write.Number;
            var end = write.Offset + write.Length;
            for (var index = write.Offset / DiskImage.BlockLength; index * DiskImage.BlockLength < end; index++)
            {
                if (expected.BlockEquals(restored, index))
                {
                    differing.Remove(index);
                }
                else
                {
                    differing.Add(index);
                }
            }
        }

        return differing.Count == 0 ? instant : null;
    }
}
