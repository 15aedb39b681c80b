using Tidemark.Blocks.Nodes;

namespace Tidemark.Testing.Images;

/// <summary>
/// A sparse file in memory with a budget: so many requests, so many bytes, so much growth. Whoever asks for more is
/// taken to hang, or to write outside of what it was given, and is stopped by an exception that no driver catches.
/// </summary>
/// <remarks>Not thread-safe. Made to be used again and again: <see cref="Reset"/> costs what was touched.</remarks>
public sealed class BudgetFile(string name, int capacity) : BlockNode(name)
{
    private const int PageBits = 14;

    // Which pages hold something, and where the last one ends.
    private readonly byte[] _content = new byte[capacity];
    private readonly bool[] _pages = new bool[(capacity >> PageBits) + 1];
    private int _touched;
    private long _length;
    private long _requests;
    private long _bytes;

    public override string Driver => "budget";

    public override long Length => _length;

    public override bool IsReadOnly => IsSealed;

    /// <summary>Whether writes are a failure of the test: the image was opened read-only.</summary>
    public bool IsSealed { get; set; }

    /// <summary>The most requests until the next <see cref="Refill"/>.</summary>
    public long RequestBudget { get; set; } = long.MaxValue;

    /// <summary>The most bytes until the next <see cref="Refill"/>.</summary>
    public long ByteBudget { get; set; } = long.MaxValue;

    /// <summary>The longest that the file may become.</summary>
    public long LengthBudget { get; set; } = long.MaxValue;

    public long Requests => _requests;

    public long Bytes => _bytes;

    /// <summary>What lies in memory; bytes past it are zero.</summary>
    public Span<byte> Content => _content.AsSpan(0, (int)Math.Min(capacity, _length));

    /// <summary>The part of <see cref="Content"/> that may hold anything but zeroes.</summary>
    public ReadOnlySpan<byte> Written => _content.AsSpan(0, (int)Math.Min(_touched, _length));

    /// <summary>Another file: this content, and zeroes up to the length.</summary>
    public void Reset(ReadOnlySpan<byte> content, long length)
    {
        for (var page = 0; page << PageBits < _touched; page++)
        {
            if (_pages[page])
            {
                var start = page << PageBits;
                _content.AsSpan(start, Math.Min(1 << PageBits, capacity - start)).Clear();
                _pages[page] = false;
            }
        }

        content.CopyTo(_content);
        _touched = 0;
        Touch(0, content.Length);
        _length = Math.Max(length, content.Length);
        IsSealed = false;
        Refill();
    }

    /// <summary>Cuts the file or makes it longer from outside.</summary>
    public void SetLength(long length)
    {
        if (length < _touched)
        {
            _content.AsSpan((int)length, _touched - (int)length).Clear();
        }

        _length = length;
    }

    /// <summary>A new operation: its budget is counted from here.</summary>
    public void Refill() => (_requests, _bytes) = (0, 0);

    public override ValueTask DisposeAsync() => default;

    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        Spend(target.Length);
        var inside = (int)Math.Clamp(capacity - offset, 0, target.Length);
        if (inside > 0)
        {
            _content.AsSpan((int)offset, inside).CopyTo(target.Span);
        }

        target.Span[inside..].Clear();
        return default;
    }

    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        Spend(source.Length);
        if (offset + source.Length > capacity)
        {
            // A host whose disk is full: a driver meets that in earnest too.
            throw new BlockException(BlockErrorKind.NoSpace, $"no room for {source.Length} bytes at {offset}");
        }

        source.Span.CopyTo(_content.AsSpan((int)offset));
        Touch((int)offset, source.Length);
        return default;
    }

    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken)
    {
        Spend(0);
        var end = (int)Math.Min(offset + length, _touched);
        if (offset < end)
        {
            _content.AsSpan((int)offset, end - (int)offset).Clear();
        }

        return default;
    }

    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken) =>
        WriteZeroesCoreAsync(offset, length, WriteFlags.None, cancellationToken);

    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken)
    {
        Spend(0);
        return default;
    }

    protected override ValueTask ResizeCoreAsync(long length, CancellationToken cancellationToken)
    {
        Spend(0);
        if (length > LengthBudget)
        {
            throw new BudgetException($"the file of {_length} bytes was to become {length} bytes long");
        }

        SetLength(length);
        return default;
    }

    private void Touch(int offset, int length)
    {
        for (var page = offset >> PageBits; page << PageBits < offset + length; page++)
        {
            _pages[page] = true;
        }

        _touched = Math.Max(_touched, offset + length);
    }

    private void Spend(int bytes)
    {
        _requests++;
        _bytes += bytes;
        if (_requests > RequestBudget || _bytes > ByteBudget)
        {
            throw new BudgetException($"one operation made {_requests} requests of {_bytes} bytes: a hang");
        }
    }
}
