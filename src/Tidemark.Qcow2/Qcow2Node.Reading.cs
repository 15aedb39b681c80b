using System.Runtime.CompilerServices;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Format;
using Tidemark.Qcow2.Metadata;

namespace Tidemark.Qcow2;

// Reads: one look-up and one read of the file where the range lies in one piece, which completes without a task when
// the file node does.
public sealed partial class Qcow2Node
{
    /// <inheritdoc/>
    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        var ticket = _epochs.Enter();
        ValueTask pending;
        try
        {
            if (!_metadata.TryMap(offset, target.Length, out var mapping)
                || mapping.Kind != ClusterKind.Data || mapping.Length < target.Length)
            {
                _epochs.Leave(ticket);
                return ReadPiecesAsync(offset, target, cancellationToken);
            }

            pending = _data.ReadAsync(mapping.HostOffset, target, cancellationToken);
        }
        catch
        {
            _epochs.Leave(ticket);
            throw;
        }

        if (!pending.IsCompletedSuccessfully)
        {
            return LeaveAfterAsync(pending, ticket);
        }

        _epochs.Leave(ticket);
        return default;
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask LeaveAfterAsync(ValueTask pending, int ticket)
    {
        try
        {
            await pending.ConfigureAwait(false);
        }
        finally
        {
            _epochs.Leave(ticket);
        }
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask ReadPiecesAsync(long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        while (!target.IsEmpty)
        {
            var ticket = _epochs.Enter();
            try
            {
                if (_metadata.TryMap(offset, target.Length, out var mapping))
                {
                    var count = (int)mapping.Length;
                    await ReadMappedAsync(mapping, offset, target[..count], cancellationToken).ConfigureAwait(false);
                    offset += count;
                    target = target[count..];
                    continue;
                }
            }
            finally
            {
                _epochs.Leave(ticket);
            }

            await _metadata.LoadAsync(offset, cancellationToken).ConfigureAwait(false);
        }
    }

    private ValueTask ReadMappedAsync(
        ClusterMapping mapping, long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        switch (mapping.Kind)
        {
            case ClusterKind.Data:
                return _data.ReadAsync(mapping.HostOffset, target, cancellationToken);
            case ClusterKind.Compressed:
                var inCluster = (int)(offset & (ClusterSize - 1));
                return _compressed.ReadAsync(mapping.Entry, inCluster, target, cancellationToken);
            case ClusterKind.Unallocated:
                return ReadBackingAsync(offset, target, cancellationToken);
            default:
                target.Span.Clear();
                return default;
        }
    }

    // What the backing file does not reach reads as zeroes.
    private ValueTask ReadBackingAsync(long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        var backing = Backing;
        var inside = backing is null ? 0 : (int)Math.Clamp(backing.Length - offset, 0, target.Length);
        target.Span[inside..].Clear();
        if (inside == 0)
        {
            return default;
        }

        return HasStack
            ? backing!.ReadAsync(offset, target[..inside], cancellationToken)
            : ReadOnAnotherStackAsync(backing!, offset, target[..inside], cancellationToken);
    }

    private static async ValueTask ReadOnAnotherStackAsync(
        BlockNode backing, long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        await ChangeStackAsync();
        await backing.ReadAsync(offset, target, cancellationToken).ConfigureAwait(false);
    }

    // Whether a range within one unit is known to read as zeroes; false when that is not known.
    private bool IsKnownZero(long offset, long length)
    {
        if (length <= 0)
        {
            return true;
        }

        if (!_metadata.TryMap(offset, length, out var mapping))
        {
            return false;
        }

        return mapping.Length >= length && mapping.Kind switch
        {
            ClusterKind.ZeroPlain or ClusterKind.ZeroAllocated => true,
            ClusterKind.Unallocated => Backing is not { } backing || offset >= backing.Length,
            _ => false,
        };
    }
}
