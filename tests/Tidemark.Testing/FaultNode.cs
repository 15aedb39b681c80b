using Tidemark.Blocks.Nodes;

namespace Tidemark.Testing;

/// <summary>
/// A filter that makes requests fail or wait, as a seed says or as a test asks: an ordinary node, so that every layer
/// can be tried with bad storage under it. A failed write may have written a part.
/// </summary>
public sealed class FaultNode(string name, BlockNode file, int seed = 0) : FilterNode(name, file)
{
    private readonly Lock _gate = new();
    private readonly Random _random = new(seed);

    /// <summary>How many reads of a hundred fail.</summary>
    public int ReadFailurePercent { get; set; }

    /// <summary>How many writes, writes of zeroes and discards of a hundred fail.</summary>
    public int WriteFailurePercent { get; set; }

    /// <summary>Whether a failed write has written its first half. Off for what relies on whole sectors.</summary>
    public bool WritesHalf { get; set; } = true;

    /// <summary>Whether flushes fail.</summary>
    public bool FailFlush { get; set; }

    /// <summary>What a failure says it is.</summary>
    public BlockErrorKind Kind { get; set; } = BlockErrorKind.Io;

    /// <summary>While set, requests wait for it before they begin.</summary>
    public Task? Hold { get; set; }

    /// <summary>How many requests reached this node.</summary>
    public int Requests { get; private set; }

    public override string Driver => "fault";

    protected override async ValueTask ReadCoreAsync(
        long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        await BeginAsync(cancellationToken);
        if (Fails(ReadFailurePercent))
        {
            throw Error("read", offset, target.Length);
        }

        await base.ReadCoreAsync(offset, target, cancellationToken);
    }

    protected override async ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        await BeginAsync(cancellationToken);
        if (Fails(WriteFailurePercent))
        {
            if (WritesHalf)
            {
                await base.WriteCoreAsync(offset, source[..((source.Length + 1) / 2)], flags, cancellationToken);
            }

            throw Error("write", offset, source.Length);
        }

        await base.WriteCoreAsync(offset, source, flags, cancellationToken);
    }

    protected override async ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken)
    {
        await BeginAsync(cancellationToken);
        if (Fails(WriteFailurePercent))
        {
            throw Error("write zeroes", offset, length);
        }

        await base.WriteZeroesCoreAsync(offset, length, flags, cancellationToken);
    }

    protected override async ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        await BeginAsync(cancellationToken);
        if (Fails(WriteFailurePercent))
        {
            throw Error("discard", offset, length);
        }

        await base.DiscardCoreAsync(offset, length, cancellationToken);
    }

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) =>
        FailFlush ? throw Error("flush", 0, 0) : base.FlushCoreAsync(cancellationToken);

    private async ValueTask BeginAsync(CancellationToken cancellationToken)
    {
        lock (_gate)
        {
            Requests++;
        }

        if (Hold is { } hold)
        {
            await hold.WaitAsync(cancellationToken);
        }
    }

    private bool Fails(int percent)
    {
        lock (_gate)
        {
            return percent > 0 && _random.Next(100) < percent;
        }
    }

    private BlockException Error(string operation, long offset, long length) =>
        new(Kind, $"fault node '{Name}' fails to {operation} {length} bytes at {offset}");
}
