using Tidemark.Blocks.Nodes;

namespace Tidemark.Nbd.Tests;

/// <summary>A disk of zeroes that fails or waits on demand, and counts the writes that it finished.</summary>
internal sealed class FaultNode(string name, long length) : BlockNode(name)
{
    private readonly TaskCompletionSource _held = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _finishedWrites;

    internal Exception? Fault { get; set; }

    /// <summary>What requests wait for.</summary>
    internal Task? Hold { get; set; }

    /// <summary>Ends when a request waits for the first time.</summary>
    internal Task Held => _held.Task;

    internal int FinishedWrites => Volatile.Read(ref _finishedWrites);

    public override string Driver => "fault";

    public override long Length => length;

    public override ValueTask DisposeAsync() => default;

    protected override async ValueTask ReadCoreAsync(
        long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        await WaitAsync();
        target.Span.Clear();
    }

    protected override async ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        await WaitAsync();
        Interlocked.Increment(ref _finishedWrites);
    }

    protected override async ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken)
    {
        await WaitAsync();
        Interlocked.Increment(ref _finishedWrites);
    }

    private async ValueTask WaitAsync()
    {
        if (Hold is { } hold)
        {
            _held.TrySetResult();
            await hold;
        }

        if (Fault is { } fault)
        {
            throw fault;
        }
    }
}
