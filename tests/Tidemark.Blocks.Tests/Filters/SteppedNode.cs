using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Tests.Filters;

/// <summary>
/// A disk in memory of a <see cref="SteppedWorld"/>. A request takes effect when it is sent, or when it completes, or
/// one half then and the other half now: the seed chooses. It does not listen to cancellation.
/// </summary>
internal sealed class SteppedNode(string name, SteppedWorld world, byte[] content, bool failsReads, bool failsWrites)
    : BlockNode(name)
{
    public const int ClusterSize = 512;

    private const int StatusUnit = 128;

    public byte[] Content => content;

    public override string Driver => "stepped";

    public override long Length => content.Length;

    public override BlockLimits Limits { get; } = new() { PreferredSize = ClusterSize };

    public override ValueTask DisposeAsync() => default;

    protected override async ValueTask ReadCoreAsync(
        long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        var early = Early(target.Length);
        content.AsSpan((int)offset, early).CopyTo(target.Span);
        await world.StepAsync(failsReads);
        content.AsSpan((int)offset + early, target.Length - early).CopyTo(target.Span[early..]);
    }

    protected override async ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        var early = Early(source.Length);
        source.Span[..early].CopyTo(content.AsSpan((int)offset));
        await world.StepAsync(failsWrites);
        source.Span[early..].CopyTo(content.AsSpan((int)offset + early));
    }

    protected override async ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken)
    {
        var early = Early((int)length);
        content.AsSpan((int)offset, early).Clear();
        await world.StepAsync(failsWrites);
        content.AsSpan((int)offset + early, (int)length - early).Clear();
    }

    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        WriteZeroesCoreAsync(offset, length, WriteFlags.MayUnmap, cancellationToken);

    protected override async ValueTask GetBlockStatusCoreAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken)
    {
        var early = world.Random.Next(2) == 0;
        if (early)
        {
            Describe(offset, length, extents);
        }

        await world.StepAsync(failsReads);
        if (!early)
        {
            Describe(offset, length, extents);
        }
    }

    private void Describe(long offset, long length, ExtentList extents)
    {
        for (var end = offset + length; offset < end;)
        {
            var part = Math.Min(end, (offset / StatusUnit * StatusUnit) + StatusUnit) - offset;
            var isZero = !content.AsSpan((int)offset, (int)part).ContainsAnyExcept((byte)0);
            extents.Append(offset, part, isZero ? ExtentFlags.Zero : ExtentFlags.None);
            offset += part;
        }
    }

    private int Early(int length) => world.Random.Next(3) switch
    {
        0 => 0,
        1 => length,
        _ => length / 2,
    };
}
