using System.Text;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Bitmaps;

/// <summary>
/// Who may do what with a dirty bitmap: QEMU's rules and QEMU's words (block/dirty-bitmap.c, block/monitor;
/// docs/interop/bitmaps.rst), for everybody who takes a bitmap by name.
/// </summary>
public static class BitmapRules
{
    /// <summary>Finds a node and its bitmap by their names.</summary>
    /// <exception cref="BlockException">There is no such node, or no such bitmap on it.</exception>
    public static (BlockNode Node, DirtyBitmap Bitmap) Find(BlockGraph graph, string nodeName, string bitmapName)
    {
        var node = graph.Find(nodeName)
            ?? throw new BlockException(BlockErrorKind.NotFound, $"Node '{nodeName}' not found");
        return (node, Find(node, bitmapName));
    }

    /// <summary>Finds a bitmap of a node by its name.</summary>
    /// <exception cref="BlockException">There is none.</exception>
    public static DirtyBitmap Find(BlockNode node, string bitmapName) =>
        node.Bitmaps.Find(bitmapName)
            ?? throw new BlockException(BlockErrorKind.NotFound, $"Dirty bitmap '{bitmapName}' not found");

    /// <summary>
    /// Refuses a bitmap whose content may not be relied on, or that somebody uses: for reading, enabling, disabling.
    /// </summary>
    /// <exception cref="BlockException">It is busy, or inconsistent.</exception>
    public static void RequireUsable(DirtyBitmap bitmap)
    {
        RequireIdle(bitmap);
        if (bitmap.IsInconsistent)
        {
            throw new BlockException(
                BlockErrorKind.Invalid, $"Bitmap '{bitmap.Name}' is inconsistent and cannot be used");
        }
    }

    /// <summary>Refuses a bitmap that may not be changed: for clearing, and as the target of a merge.</summary>
    /// <exception cref="BlockException">It is busy, inconsistent, or belongs to an image that is read-only.</exception>
    public static void RequireWritable(BlockNode node, DirtyBitmap bitmap)
    {
        RequireIdle(bitmap);
        RequireNotReadOnly(node, bitmap);
        RequireUsable(bitmap);
    }

    /// <summary>
    /// Refuses a bitmap that may not be removed. An inconsistent one may be: removal is all that is left for it.
    /// </summary>
    /// <exception cref="BlockException">It is busy, or belongs to an image that is read-only.</exception>
    public static void RequireRemovable(BlockNode node, DirtyBitmap bitmap)
    {
        RequireIdle(bitmap);
        RequireNotReadOnly(node, bitmap);
    }

    /// <summary>Refuses a name that no bitmap may have.</summary>
    /// <exception cref="BlockException">It is empty, or too long to be stored.</exception>
    public static void RequireName(string bitmapName)
    {
        if (bitmapName.Length == 0)
        {
            throw new BlockException(BlockErrorKind.BadName, "Bitmap name cannot be empty");
        }

        if (Encoding.UTF8.GetByteCount(bitmapName) > DirtyBitmap.MaximumNameLength)
        {
            throw new BlockException(BlockErrorKind.BadName, $"Bitmap name too long: {bitmapName}");
        }
    }

    /// <summary>
    /// The granularity of a new bitmap when none is asked for: the format's cluster size, from 4 KiB to 64 KiB.
    /// </summary>
    public static long DefaultGranularity(BlockNode node) =>
        node.Limits.ClusterSize == 0
            ? DirtyBitmap.DefaultGranularity
            : Math.Clamp(node.Limits.ClusterSize, 4096, DirtyBitmap.DefaultGranularity);

    private static void RequireIdle(DirtyBitmap bitmap)
    {
        if (bitmap.IsBusy)
        {
            throw new BlockException(
                BlockErrorKind.Busy,
                $"Bitmap '{bitmap.Name}' is currently in use by another operation and cannot be used");
        }
    }

    // The image holds a persistent bitmap: while the image may not be written, neither may its bitmaps.
    private static void RequireNotReadOnly(BlockNode node, DirtyBitmap bitmap)
    {
        if (bitmap.IsPersistent && node.IsReadOnly)
        {
            throw new BlockException(
                BlockErrorKind.ReadOnly, $"Bitmap '{bitmap.Name}' is readonly and cannot be modified");
        }
    }
}
