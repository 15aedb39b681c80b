using Tidemark.Blocks.Nodes;

namespace Tidemark.Qcow2.Tests.Crash;

/// <summary>A file of a disk whose power can fail.</summary>
internal sealed class CrashFile(CrashDisk disk, int index, byte[] content) : BlockNode($"file{index}")
{
    private byte[] _content = content;

    public override string Driver => "crash";

    public override long Length => _content.Length;

    internal byte[] Content => _content;

    public override ValueTask DisposeAsync() => default;

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        _content.AsMemory((int)offset, target.Length).CopyTo(target);
        return default;
    }

    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken) =>
        Do(FileEventKind.Write, offset, source.ToArray());

    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken) =>
        Do(FileEventKind.Write, offset, new byte[length]);

    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        disk.IgnoresDiscards ? default : Do(FileEventKind.Write, offset, new byte[length]);

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken) =>
        Do(FileEventKind.Flush, 0, []);

    protected override ValueTask ResizeCoreAsync(long length, CancellationToken cancellationToken) =>
        Do(FileEventKind.Resize, length, []);

    private ValueTask Do(FileEventKind kind, long offset, byte[] data)
    {
        CrashEvent change = new(index, kind, offset, data);
        disk.Events.Add(change);
        _content = change.ApplyTo(_content);
        return default;
    }
}
