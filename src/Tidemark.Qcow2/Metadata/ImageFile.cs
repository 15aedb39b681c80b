using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2.Metadata;

/// <summary>The file under an image: reads past its end give zeroes, allocation grows it in steps.</summary>
/// <remarks>Thread-safe. Growth is one at a time: two that overlap could cut off what the other has added.</remarks>
internal sealed class ImageFile(BlockNode node, int clusterBits, long growthStep) : IDisposable
{
    private const long LargestStep = 1L << 30;

    private readonly SemaphoreSlim _growing = new(1, 1);
    private BlockChild? _child;

    internal BlockNode Node => _child?.Node ?? node;

    internal long Length => Node.Length;

    /// <summary>The end of all clusters that the file has begun.</summary>
    internal long EndOfClusters => (Length + (1L << clusterBits) - 1) >> clusterBits << clusterBits;

    /// <summary>From here on the file is what the edge points at, which may be exchanged.</summary>
    internal void Attach(BlockChild child) => _child = child;

    internal ValueTask ReadAsync(long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        var file = Node;
        var length = file.Length;
        return offset <= length - target.Length
            ? file.ReadAsync(offset, target, cancellationToken)
            : ReadPastEndAsync(file, length, offset, target, cancellationToken);
    }

    /// <summary>Writes; grows the file where the last cluster was begun but is not there in full.</summary>
    internal ValueTask WriteAsync(long offset, ReadOnlyMemory<byte> source, CancellationToken cancellationToken)
    {
        var file = Node;
        return offset <= file.Length - source.Length
            ? file.WriteAsync(offset, source, WriteFlags.None, cancellationToken)
            : GrowAndWriteAsync(file, offset, source, cancellationToken);
    }

    internal ValueTask FlushAsync(CancellationToken cancellationToken) => Node.FlushAsync(cancellationToken);

    /// <summary>Makes the file at least so long; new bytes are zero.</summary>
    internal async ValueTask EnsureLengthAsync(long end, CancellationToken cancellationToken)
    {
        if (end > Qcow2Limits.MaximumHostOffset)
        {
            throw new Qcow2Exception(BlockErrorKind.NoSpace,
                $"the image would reach past host offset 2^56 (0x{end:x})");
        }

        if (end > Length)
        {
            // The longer the file, the longer the step: to grow waits for the writes that are under way, and others
            // wait for it. What is too much is a hole, and is cut off at close.
            var steps = growthStep == 1 ? 1 : Math.Max(1, Math.Min(Length / 4, LargestStep) / growthStep);
            await GrowAsync(end, ((end + growthStep - 1) / growthStep * growthStep) + ((steps - 1) * growthStep),
                cancellationToken).ConfigureAwait(false);
        }
    }

    public void Dispose() => _growing.Dispose();

    private async ValueTask GrowAsync(long needed, long length, CancellationToken cancellationToken)
    {
        await _growing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (needed > Length)
            {
                await Node.ResizeAsync(length, cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            _growing.Release();
        }
    }

    private static async ValueTask ReadPastEndAsync(
        BlockNode file, long length, long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        var inside = (int)Math.Clamp(length - offset, 0, target.Length);
        target.Span[inside..].Clear();
        await file.ReadAsync(Math.Min(offset, length), target[..inside], cancellationToken).ConfigureAwait(false);
    }

    private async ValueTask GrowAndWriteAsync(
        BlockNode file, long offset, ReadOnlyMemory<byte> source, CancellationToken cancellationToken)
    {
        await GrowAsync(offset + source.Length, offset + source.Length, cancellationToken).ConfigureAwait(false);
        await file.WriteAsync(offset, source, WriteFlags.None, cancellationToken).ConfigureAwait(false);
    }
}
