using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Engine.Backups;

// A backup's bitmap says what to copy, and afterwards, depending on the mode, what was written since the point in time.
// QEMU gives the bitmap a successor that takes over the recording, and unites or exchanges the two at the end. Here the
// bitmap itself goes on recording, and a nameless successor beside it records too:
//
//     bitmap     = what it was at the point in time, and every write since      (never loses a mark while the job runs)
//     successor  = every write since the point in time
//
// Why no write can be missed. Both begin in the drained section that is the point in time, both record until the
// drained section that ends the job, and a write is marked before its completion is reported. Whatever happens in
// between, a failure, a cancellation, a close of the image, a crash of the process, the named bitmap says at least as
// much as it said before. Only a job that has copied all of it, and has flushed the target, exchanges its content for
// the successor's. A bitmap that was disabled has a disabled successor: after a success it is empty, as in QEMU.

/// <summary>The bitmap of a backup job from the point in time to the job's end. Used in drained sections
/// only.</summary>
internal sealed class BackupBitmap
{
    private readonly BlockNode _node;
    private readonly BitmapMode _mode;
    private readonly DirtyBitmap _bitmap;
    private readonly DirtyBitmap _successor;

    /// <summary>Begins at the point in time.</summary>
    /// <exception cref="BlockException">The bitmap is not there, busy, or inconsistent.</exception>
    internal BackupBitmap(BlockNode node, string name, BitmapMode mode)
    {
        _node = node;
        _mode = mode;
        _bitmap = node.Bitmaps.Find(name)
            ?? throw new BlockException(BlockErrorKind.NotFound, $"Bitmap '{name}' could not be found");
        BitmapRules.RequireUsable(_bitmap);
        if (mode != BitmapMode.Never)
        {
            BitmapRules.RequireWritable(node, _bitmap);
        }

        _successor = new DirtyBitmap(null, _bitmap.Length, _bitmap.Granularity) { IsRecording = _bitmap.IsRecording };
        node.Bitmaps.Add(_successor);
        _bitmap.IsBusy = true;
    }

    /// <summary>What to copy.</summary>
    internal DirtyBitmap Bitmap => _bitmap;

    /// <summary>The backup succeeded, and what it wrote is durable.</summary>
    internal void Commit()
    {
        if (_mode != BitmapMode.Never)
        {
            _bitmap.RestoreWords(_successor.CopyWords());
        }

        Release();
    }

    /// <summary>The backup failed, or never was.</summary>
    /// <param name="remaining">What it had not copied; null when it copied nothing for sure.</param>
    internal void Abort(DirtyBitmap? remaining)
    {
        if (_mode == BitmapMode.Always && remaining is not null)
        {
            _bitmap.RestoreWords(_successor.CopyWords());
            _bitmap.Merge(remaining);
        }

        Release();
    }

    private void Release()
    {
        _node.Bitmaps.Remove(_successor);
        _bitmap.IsBusy = false;
    }
}
