using Tidemark.Blocks.Bitmaps;

namespace Tidemark.Blocks.Nodes;

/// <summary>
/// A byte-addressed disk. Everything that holds or forwards a disk's bytes is a node: a file, an image format, a
/// remote export, a filter.
/// </summary>
/// <remarks>
/// <para>Checked front, bare back: the public methods are not virtual; they check range, alignment and permission once
/// and then call the protected <c>…CoreAsync</c> method, which may assume all of it. Writes are marked in the node's
/// recording <see cref="Bitmaps"/> after the core has run and before completion is reported, whether it succeeded or
/// not, because a failed write may have changed bytes.</para>
/// <para>Buffers are lent until the returned task completes; completion means that nobody touches the memory any more.
/// A read fills the whole buffer or fails. Requests may overlap in time and complete in any order; overlapping writes
/// that are under way together leave either one's bytes. A core may use the calling thread for the length of one
/// system call: parallelism is the caller's, who brings threads.</para>
/// <para>Thread-safe, but for disposal, which must come after all requests have completed.</para>
/// </remarks>
public abstract partial class BlockNode : IAsyncDisposable
{
    private readonly Lock _parentsGate = new();
    private readonly List<BlockChild> _parents = [];

    /// <summary>Creates a node.</summary>
    /// <param name="name">The node's name in its graph; not empty.</param>
    protected BlockNode(string name)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        Name = name;
        Bitmaps = new BitmapSet(this);
    }

    /// <summary>The node's name, unique in its graph.</summary>
    public string Name { get; }

    /// <summary>
    /// The driver's name as QEMU has it: <c>file</c>, <c>raw</c>, <c>qcow2</c>, <c>nbd</c>, <c>copy-before-write</c>.
    /// </summary>
    public abstract string Driver { get; }

    /// <summary>The size of the disk in bytes. It changes only inside a drained section.</summary>
    public abstract long Length { get; }

    /// <summary>Whether writes are refused. It changes only inside a drained section.</summary>
    public virtual bool IsReadOnly => false;

    /// <summary>Whether the node is a filter: its bytes are its <see cref="ChildRole.File"/> child's bytes.</summary>
    public virtual bool IsFilter => false;

    /// <summary>Whether discards end here without an effect, and zeroes free no storage: QEMU's
    /// <c>discard=ignore</c>. It changes only inside a drained section.</summary>
    public bool StopsDiscards { get; set; }

    /// <summary>What the node asks of its callers.</summary>
    public virtual BlockLimits Limits => BlockLimits.Default;

    /// <summary>The nodes below, in no particular order.</summary>
    public virtual IReadOnlyList<BlockChild> Children => [];

    /// <summary>The dirty bitmaps that belong to this node.</summary>
    public BitmapSet Bitmaps { get; }

    /// <summary>Who uses the node, at this moment: a copy.</summary>
    public IReadOnlyList<BlockChild> Parents
    {
        get
        {
            lock (_parentsGate)
            {
                return [.. _parents];
            }
        }
    }

    /// <summary>The child of a role, or null.</summary>
    public BlockNode? ChildOf(ChildRole role)
    {
        foreach (var child in Children)
        {
            if (child.Role == role)
            {
                return child.Node;
            }
        }

        return null;
    }

    /// <summary>Whether a persistent bitmap could be stored in this node's image, with the reason if not.</summary>
    /// <param name="bitmapName">The bitmap's name.</param>
    /// <param name="granularity">Bytes per bit.</param>
    /// <param name="reason">Why not; empty when it could.</param>
    public virtual bool CanStorePersistentBitmap(string bitmapName, long granularity, out string reason)
    {
        reason = $"Can't store persistent bitmaps to {Name}: Operation not supported";
        return false;
    }

    /// <summary>
    /// Removes a persistent bitmap from the image itself; does nothing when the image does not hold it.
    /// </summary>
    public virtual ValueTask RemoveStoredBitmapAsync(
        string bitmapName, CancellationToken cancellationToken = default) => default;

    /// <summary>
    /// Makes the node refuse writes from now on, or take them. Only inside a drained section. The nodes below stay as
    /// they are: the file of a node that is to become writable must be so before, and that of a node which has become
    /// read-only may follow it, for everything has been stored.
    /// </summary>
    /// <param name="readOnly">Whether writes are refused.</param>
    /// <param name="cancellationToken">Gives up before anything has changed.</param>
    /// <exception cref="BlockException">The driver cannot do it, the node below does not allow it, or something could
    /// not be stored. The node is as it was; or it refuses writes, if what it had stored in part could not be taken
    /// back.</exception>
    public ValueTask SetReadOnlyAsync(bool readOnly, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return IsReadOnly == readOnly ? default : SetReadOnlyCoreAsync(readOnly);
    }

    /// <summary>
    /// Flushes, stores what must outlive the node, releases what it holds. Children are not disposed.
    /// </summary>
    public abstract ValueTask DisposeAsync();

    /// <inheritdoc/>
    public override string ToString() => $"{Driver} node '{Name}'";

    /// <summary>Makes the node what it is not: read-only, or writable. It cannot be given up in its middle.</summary>
    protected virtual ValueTask SetReadOnlyCoreAsync(bool readOnly) => throw new BlockException(
        BlockErrorKind.NotSupported,
        $"node '{Name}' cannot be made {(readOnly ? "read-only" : "writable")} while it is open: its driver "
        + $"'{Driver}' does not support that");

    internal void AddParent(BlockChild parent)
    {
        lock (_parentsGate)
        {
            _parents.Add(parent);
        }
    }

    internal void RemoveParent(BlockChild parent)
    {
        lock (_parentsGate)
        {
            _parents.Remove(parent);
        }
    }
}
