using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Tests.Graph;

/// <summary>A disk in memory whose writes complete when the test says so.</summary>
internal sealed class GatedNode(string name, byte[] content) : BlockNode(name)
{
    private readonly List<TaskCompletionSource> _pending = [];

    /// <summary>The writes that came in, in their order: a copy.</summary>
    public List<TaskCompletionSource> Pending
    {
        get
        {
            lock (_pending)
            {
                return [.. _pending];
            }
        }
    }

    public override string Driver => "memory";

    public override long Length => content.Length;

    public override ValueTask DisposeAsync() => default;

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        content.AsMemory((int)offset, target.Length).CopyTo(target);
        return default;
    }

    protected override async ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        var gate = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_pending)
        {
            _pending.Add(gate);
        }

        await gate.Task;
        source.CopyTo(content.AsMemory((int)offset));
    }
}
