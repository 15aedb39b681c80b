using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Graph;

/// <summary>
/// A root of the graph: how an export, a device or a job uses a node. Each request passes the graph's drain gate, and
/// the node may be exchanged under it (a filter is put in) while it lives.
/// </summary>
/// <remarks>Never use a backend from inside another backend's request: see <see cref="DrainGate"/>.</remarks>
public sealed class BlockBackend : IDisposable
{
    private readonly DrainGate _gate;
    private readonly BlockChild _root;

    internal BlockBackend(DrainGate gate, BlockNode node, string description)
    {
        _gate = gate;
        _root = new BlockChild(null, ChildRole.Root, node, description);
    }

    /// <summary>The node used, at this moment. A filter that was put in since shows here.</summary>
    public BlockNode Node => _root.Node;

    /// <summary>Who uses the node, for messages.</summary>
    public string Description => _root.Description;

    /// <summary>The size of the disk in bytes.</summary>
    public long Length => _root.Node.Length;

    /// <summary>Reads; see <see cref="BlockNode.ReadAsync"/>.</summary>
    public ValueTask ReadAsync(long offset, Memory<byte> target, CancellationToken cancellationToken = default)
    {
        var entering = _gate.EnterAsync(cancellationToken);
        if (!entering.IsCompletedSuccessfully)
        {
            return Slowly(entering, (Backend: this, offset, target), static (s, token) =>
                s.Backend.Node.ReadAsync(s.offset, s.target, token), cancellationToken);
        }

        try
        {
            return Leave(Node.ReadAsync(offset, target, cancellationToken));
        }
        catch
        {
            _gate.Exit();
            throw;
        }
    }

    /// <summary>Writes; see <see cref="BlockNode.WriteAsync"/>.</summary>
    public ValueTask WriteAsync(
        long offset,
        ReadOnlyMemory<byte> source,
        WriteFlags flags = WriteFlags.None,
        CancellationToken cancellationToken = default)
    {
        var entering = _gate.EnterAsync(cancellationToken);
        if (!entering.IsCompletedSuccessfully)
        {
            return Slowly(entering, (Backend: this, offset, source, flags), static (s, token) =>
                s.Backend.Node.WriteAsync(s.offset, s.source, s.flags, token), cancellationToken);
        }

        try
        {
            return Leave(Node.WriteAsync(offset, source, flags, cancellationToken));
        }
        catch
        {
            _gate.Exit();
            throw;
        }
    }

    /// <summary>Writes zeroes; see <see cref="BlockNode.WriteZeroesAsync"/>.</summary>
    public ValueTask WriteZeroesAsync(
        long offset, long length, WriteFlags flags = WriteFlags.None, CancellationToken cancellationToken = default) =>
        RunAsync(
            (Offset: offset, Length: length, Flags: flags),
            static (node, s, token) => node.WriteZeroesAsync(s.Offset, s.Length, s.Flags, token),
            cancellationToken);

    /// <summary>Discards; see <see cref="BlockNode.DiscardAsync"/>.</summary>
    public ValueTask DiscardAsync(long offset, long length, CancellationToken cancellationToken = default) =>
        RunAsync(
            (Offset: offset, Length: length),
            static (node, s, token) => node.DiscardAsync(s.Offset, s.Length, token),
            cancellationToken);

    /// <summary>Flushes; see <see cref="BlockNode.FlushAsync"/>.</summary>
    public ValueTask FlushAsync(CancellationToken cancellationToken = default) =>
        RunAsync(0, static (node, _, token) => node.FlushAsync(token), cancellationToken);

    /// <summary>Describes a range; see <see cref="BlockNode.GetBlockStatusAsync"/>.</summary>
    public ValueTask GetBlockStatusAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken = default) =>
        RunAsync(
            (Offset: offset, Length: length, Extents: extents),
            static (node, s, token) => node.GetBlockStatusAsync(s.Offset, s.Length, s.Extents, token),
            cancellationToken);

    /// <summary>Says which image holds a range; see <see cref="BlockNode.GetAllocationDepthAsync"/>.</summary>
    public ValueTask GetAllocationDepthAsync(
        long offset, long length, DepthList depths, CancellationToken cancellationToken = default) =>
        RunAsync(
            (Offset: offset, Length: length, Depths: depths),
            static (node, s, token) => node.GetAllocationDepthAsync(s.Offset, s.Length, s.Depths, token),
            cancellationToken);

    /// <summary>
    /// Runs one operation on the node as one request: no drained section begins while it is under way.
    /// </summary>
    public async ValueTask RunAsync<TState>(
        TState state,
        Func<BlockNode, TState, CancellationToken, ValueTask> operation,
        CancellationToken cancellationToken)
    {
        await _gate.EnterAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await operation(Node, state, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _gate.Exit();
        }
    }

    /// <summary>Stops using the node. The node itself is not disposed.</summary>
    public void Dispose() => _root.Dispose();

    private ValueTask Leave(ValueTask pending)
    {
        if (pending.IsCompletedSuccessfully)
        {
            _gate.Exit();
            return pending;
        }

        return LeaveSlowly(pending);
    }

    private async ValueTask LeaveSlowly(ValueTask pending)
    {
        try
        {
            await pending.ConfigureAwait(false);
        }
        finally
        {
            _gate.Exit();
        }
    }

    private async ValueTask Slowly<TState>(
        ValueTask entering,
        TState state,
        Func<TState, CancellationToken, ValueTask> operation,
        CancellationToken cancellationToken)
    {
        await entering.ConfigureAwait(false);
        try
        {
            await operation(state, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _gate.Exit();
        }
    }
}
