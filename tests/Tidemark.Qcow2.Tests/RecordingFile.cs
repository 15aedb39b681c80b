using Tidemark.Blocks.Nodes;

namespace Tidemark.Qcow2.Tests;

/// <summary>A growable file in memory that remembers what was done to it, so that a test can ask: what would the file
/// hold had the power failed here?</summary>
internal sealed class RecordingFile : BlockNode
{
    private readonly Lock _gate = new();
    private byte[] _content;
    private long _length;

    public RecordingFile(byte[]? content = null, string name = "file")
        : base(name)
    {
        _content = content ?? [];
        _length = _content.Length;
        Initial = [.. _content];
    }

    /// <summary>What the file held when recording began.</summary>
    public byte[] Initial { get; private set; }

    public List<FileEvent> Events { get; } = [];

    /// <summary>Told of everything that is done.</summary>
    public Action<FileEvent>? Observer { get; init; }

    /// <summary>Whether requests really suspend, so that the callers' slow paths run.</summary>
    public bool IsAsynchronous { get; init; }

    /// <summary>Whether a discard does nothing, so that freed clusters keep what they held.</summary>
    public bool IgnoresDiscards { get; init; }

    /// <summary>Fails the write of this number, counted from now, when not negative.</summary>
    public int FailWriteIn { get; set; } = -1;

    /// <summary>Whether every write after that one fails as well.</summary>
    public bool FailsOn { get; set; }

    /// <summary>Whether a write that fails is in the file all the same, as if its answer had been lost.</summary>
    public bool LosesAnswers { get; set; }

    public override string Driver => "recording";

    public override long Length => Volatile.Read(ref _length);

    public byte[] Content
    {
        get
        {
            lock (_gate)
            {
                return _content.AsSpan(0, (int)_length).ToArray();
            }
        }
    }

    public void StartRecording()
    {
        Initial = Content;
        Events.Clear();
    }

    public override ValueTask DisposeAsync() => default;

    protected override async ValueTask ReadCoreAsync(long offset, Memory<byte> target,
        CancellationToken cancellationToken)
    {
        await SuspendAsync();
        lock (_gate)
        {
            _content.AsMemory((int)offset, target.Length).CopyTo(target);
        }
    }

    protected override async ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        await SuspendAsync();
        Record(new FileEvent(FileEventKind.Write, offset, source.ToArray()), countsAsWrite: true);
    }

    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken)
    {
        Record(new FileEvent(FileEventKind.Write, offset, new byte[length]), countsAsWrite: true);
        return default;
    }

    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        if (!IgnoresDiscards)
        {
            Record(new FileEvent(FileEventKind.Write, offset, new byte[length]), countsAsWrite: false);
        }

        return default;
    }

    protected override async ValueTask FlushCoreAsync(CancellationToken cancellationToken)
    {
        await SuspendAsync();
        Record(new FileEvent(FileEventKind.Flush, 0, []), countsAsWrite: false);
    }

    protected override ValueTask ResizeCoreAsync(long length, CancellationToken cancellationToken)
    {
        Record(new FileEvent(FileEventKind.Resize, length, []), countsAsWrite: false);
        return default;
    }

    /// <summary>Does one recorded event to a content.</summary>
    public static byte[] Apply(byte[] content, FileEvent change)
    {
        switch (change.Kind)
        {
            case FileEventKind.Resize:
                Array.Resize(ref content, (int)change.Offset);
                break;
            case FileEventKind.Write:
                if (change.Offset + change.Data.Length > content.Length)
                {
                    Array.Resize(ref content, (int)change.Offset + change.Data.Length);
                }

                change.Data.CopyTo(content, change.Offset);
                break;
            default:
                break;
        }

        return content;
    }

    private async ValueTask SuspendAsync()
    {
        if (IsAsynchronous)
        {
            await Task.Yield();
        }
    }

    private void Record(FileEvent change, bool countsAsWrite)
    {
        lock (_gate)
        {
            if (countsAsWrite && FailWriteIn >= 0 && FailWriteIn-- == 0)
            {
                FailWriteIn = FailsOn ? 0 : -1;
                if (LosesAnswers)
                {
                    Do(change);
                }

                throw new BlockException(BlockErrorKind.NoSpace, "the test's file is full");
            }

            Do(change);
        }
    }

    private void Do(FileEvent change)
    {
        Events.Add(change);
        Observer?.Invoke(change);
        if (change.Kind == FileEventKind.Resize && change.Offset > _content.Length)
        {
            // Bytes that were cut off and come back are zero.
            Array.Resize(ref _content, (int)Math.Max(change.Offset, _content.Length * 2L));
        }

        if (change.Kind == FileEventKind.Resize)
        {
            if (change.Offset < _length)
            {
                _content.AsSpan((int)change.Offset, (int)(_length - change.Offset)).Clear();
            }

            _length = change.Offset;
            return;
        }

        change.Data.CopyTo(_content, change.Offset);
    }
}

internal enum FileEventKind
{
    Write,
    Flush,
    Resize,
}

/// <summary>One thing that was done to a file; for a resize the offset is the new length.</summary>
internal sealed record FileEvent(FileEventKind Kind, long Offset, byte[] Data);
