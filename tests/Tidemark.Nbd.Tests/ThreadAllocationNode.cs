using Tidemark.Blocks.Nodes;

namespace Tidemark.Nbd.Tests;

/// <summary>A disk that sums what its calling threads allocated from one of its calls to the next.</summary>
internal sealed class ThreadAllocationNode(string name, byte[] content) : BlockNode(name)
{
    // A thread that has served another node, or another run of this one, begins anew: what it did in between is not
    // this run's.
    private static int s_runs;

    [ThreadStatic]
    private static long s_lastBytes;

    [ThreadStatic]
    private static int s_lastRun;

    private int _run;
    private long _allocated;
    private int _samples;

    internal long AllocatedBytes => Interlocked.Read(ref _allocated);

    internal int Samples => Volatile.Read(ref _samples);

    public override string Driver => "memory";

    public override long Length => content.Length;

    public override ValueTask DisposeAsync() => default;

    internal void Begin() => Volatile.Write(ref _run, Interlocked.Increment(ref s_runs));

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        Sample();
        content.AsMemory((int)offset, target.Length).CopyTo(target);
        return default;
    }

    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        Sample();
        source.CopyTo(content.AsMemory((int)offset));
        return default;
    }

    private void Sample()
    {
        var run = Volatile.Read(ref _run);
        var now = GC.GetAllocatedBytesForCurrentThread();
        if (run > 0 && s_lastRun == run)
        {
            Interlocked.Add(ref _allocated, now - s_lastBytes);
            Interlocked.Increment(ref _samples);
        }

        s_lastRun = run;
        s_lastBytes = now;
    }
}
