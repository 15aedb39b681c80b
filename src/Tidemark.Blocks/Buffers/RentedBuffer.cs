namespace Tidemark.Blocks.Buffers;

/// <summary>
/// Memory lent by a <see cref="BufferPool"/>. The holder owns it and disposes it once, when no I/O can touch it.
/// </summary>
public readonly struct RentedBuffer : IDisposable
{
    private readonly BufferPool _pool;
    private readonly byte[] _array;
    private readonly int _length;

    internal RentedBuffer(BufferPool pool, byte[] array, int length)
    {
        _pool = pool;
        _array = array;
        _length = length;
    }

    /// <summary>The memory, exactly as long as was asked for; its content is undefined.</summary>
    public Memory<byte> Memory => _array.AsMemory(0, _length);

    /// <summary>Gives the memory back.</summary>
    public void Dispose() => _pool.GiveBack(_array, _length);
}
