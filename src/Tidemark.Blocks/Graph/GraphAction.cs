namespace Tidemark.Blocks.Graph;

/// <summary>
/// One step of a <see cref="GraphTransaction"/>. All that can fail happens in <see cref="PrepareAsync"/>; then either
/// <see cref="Commit"/> or <see cref="Abort"/> is called, never both, and neither may fail.
/// </summary>
/// <remarks>
/// All three run inside the transaction's drained section: no request of any root is under way, so an action must not
/// begin a drained section of its own and must not use a <see cref="BlockBackend"/>; it speaks to nodes. What prepare
/// changed is seen by the actions after it: a bitmap that one action added is what the next one merges into.
/// </remarks>
public abstract class GraphAction
{
    /// <summary>
    /// Checks everything, and makes every change that can fail, so that <see cref="Abort"/> can still undo it. When it
    /// throws, it has left nothing behind, and neither of the other two is called for this action.
    /// </summary>
    public abstract ValueTask PrepareAsync(CancellationToken cancellationToken);

    /// <summary>Makes the change final: every action of the transaction was prepared. Must not fail.</summary>
    public virtual void Commit()
    {
    }

    /// <summary>Undoes what <see cref="PrepareAsync"/> did: a later action failed. Must not fail.</summary>
    public virtual void Abort()
    {
    }

    /// <summary>
    /// Called once for each prepared action after the drained section has ended, whether the transaction was committed
    /// or aborted: the place to dispose what the action took out of the graph, which may flush and wait. A failure is
    /// reported only when nothing failed before it.
    /// </summary>
    public virtual ValueTask CleanUpAsync() => default;
}
