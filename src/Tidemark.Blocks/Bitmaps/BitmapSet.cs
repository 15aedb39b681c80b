using System.Collections;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Bitmaps;

/// <summary>The dirty bitmaps of one node, in the order in which they were added.</summary>
/// <remarks>Reading and marking take no lock; adding and removing copy the array. Bitmaps are added, removed, merged
/// and cleared inside a drained section, so that each write is wholly before or wholly after the change.</remarks>
public sealed class BitmapSet : IReadOnlyList<DirtyBitmap>
{
    private readonly Lock _gate = new();
    private readonly BlockNode _node;
    private volatile DirtyBitmap[] _bitmaps = [];

    internal BitmapSet(BlockNode node) => _node = node;

    /// <inheritdoc/>
    public int Count => _bitmaps.Length;

    /// <inheritdoc/>
    public DirtyBitmap this[int index] => _bitmaps[index];

    /// <summary>The bitmap of that name, or null. Bitmaps without a name are never found.</summary>
    public DirtyBitmap? Find(string name) =>
        Array.Find(_bitmaps, bitmap => string.Equals(bitmap.Name, name, StringComparison.Ordinal));

    /// <summary>Adds a bitmap.</summary>
    /// <exception cref="BlockException">The name is taken, or the bitmap's size is not the node's.</exception>
    public void Add(DirtyBitmap bitmap)
    {
        lock (_gate)
        {
            if (bitmap.Name is not null && Find(bitmap.Name) is not null)
            {
                throw new BlockException(BlockErrorKind.BadName, $"Bitmap already exists: {bitmap.Name}");
            }

            if (bitmap.Length != _node.Length)
            {
                throw new BlockException(
                    BlockErrorKind.Invalid,
                    $"bitmap '{bitmap.Name}' covers {bitmap.Length} bytes, node '{_node.Name}' has {_node.Length}");
            }

            _bitmaps = [.. _bitmaps, bitmap];
        }
    }

    /// <summary>Takes a bitmap away; false when it was not there.</summary>
    public bool Remove(DirtyBitmap bitmap)
    {
        lock (_gate)
        {
            var index = Array.IndexOf(_bitmaps, bitmap);
            if (index < 0)
            {
                return false;
            }

            _bitmaps = [.. _bitmaps.AsSpan(0, index), .. _bitmaps.AsSpan(index + 1)];
            return true;
        }
    }

    /// <summary>Marks a written range in every bitmap that records.</summary>
    public void MarkDirty(long offset, long length)
    {
        foreach (var bitmap in _bitmaps)
        {
            if (bitmap.IsRecording)
            {
                bitmap.Set(offset, length);
            }
        }
    }

    /// <inheritdoc/>
    public IEnumerator<DirtyBitmap> GetEnumerator() => ((IEnumerable<DirtyBitmap>)_bitmaps).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
