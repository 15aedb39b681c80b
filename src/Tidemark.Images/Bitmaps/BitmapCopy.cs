using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Nodes;
using Tidemark.Images.Opening;

namespace Tidemark.Images.Bitmaps;

/// <summary>Persistent bitmaps of one image into another.</summary>
internal static class BitmapCopy
{
    /// <summary>The bitmaps that can be copied.</summary>
    /// <exception cref="ImageException">One cannot, and is not to be left out.</exception>
    internal static IReadOnlyList<DirtyBitmap> Choose(OpenImage source, bool skipBroken, Action<string>? warn)
    {
        if (source.TopLayer.Qcow2?.BitmapProblem is { } problem)
        {
            if (!skipBroken)
            {
                throw new ImageException(
                    BlockErrorKind.Corrupt,
                    $"the bitmaps of '{source.TopLayer.FileName}' cannot be read: {problem}; leave them out with "
                    + "--skip-broken-bitmaps, or remove them with 'image bitmap --remove'");
            }

            warn?.Invoke($"Skipping the bitmaps of '{source.TopLayer.FileName}', which cannot be read: {problem}");
        }

        List<DirtyBitmap> chosen = [];
        foreach (var bitmap in source.Top.Bitmaps.Where(bitmap => bitmap is { IsPersistent: true, Name: not null }))
        {
            if (!bitmap.IsInconsistent)
            {
                chosen.Add(bitmap);
            }
            else if (skipBroken)
            {
                warn?.Invoke($"Skipping inconsistent bitmap '{bitmap.Name}'");
            }
            else
            {
                throw ImageException.Invalid(
                    $"Cannot copy inconsistent bitmap '{bitmap.Name}'; "
                    + "Try --skip-broken-bitmaps, or use 'image bitmap --remove'");
            }
        }

        return chosen;
    }

    /// <summary>Adds the bitmaps to the target with their bits. The target's data is complete: what is copied after
    /// this would be marked in them.</summary>
    /// <exception cref="BlockException">The target cannot hold one, or has one of that name.</exception>
    internal static void Run(IReadOnlyList<DirtyBitmap> bitmaps, BlockNode target)
    {
        foreach (var bitmap in bitmaps)
        {
            if (!target.CanStorePersistentBitmap(bitmap.Name!, bitmap.Granularity, out var reason))
            {
                throw ImageException.NotSupported($"Failed to create bitmap {bitmap.Name}: {reason}");
            }

            DirtyBitmap copy = new(bitmap.Name, target.Length, bitmap.Granularity) { IsPersistent = true };
            MergeBits(bitmap, copy);
            copy.IsRecording = bitmap.IsRecording;
            target.Bitmaps.Add(copy);
        }
    }

    /// <summary>Marks in one bitmap what another one of any granularity and length has marked, as far as both
    /// reach.</summary>
    internal static void MergeBits(DirtyBitmap source, DirtyBitmap target)
    {
        var length = Math.Min(source.Length, target.Length);
        long offset = 0;
        while (offset < length && source.TryNextDirty(offset, length - offset, out var run))
        {
            target.Set(run.Offset, run.Length);
            offset = run.End;
        }
    }
}
