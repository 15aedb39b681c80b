using System.Buffers;
using System.Runtime.InteropServices;

namespace Tidemark.Nbd.Server;

/// <summary>
/// Memory of a server's requests that comes from the system and goes back to it at once when it is freed. An array of
/// that size would stay resident until the runtime collects its oldest generation, which a server with hardly any
/// garbage does not do for hours. And of what a client merely announces nothing is resident before its bytes come.
/// </summary>
/// <remarks>Freed by <see cref="ServerBuffers"/> alone, when no request has it. Not by a finalizer: what still reads
/// from it might hold nothing but a span.</remarks>
internal sealed unsafe partial class ServerBuffer : MemoryManager<byte>
{
    private const int ReadWrite = 3;
    private const int PrivateAnonymous = 0x22;

    // Where in a page the memory begins. Some processors copy several times slower to an address that lies a few bytes
    // behind the source's within the page: what a reply's header in front does to bytes that come from a file's pages.
    private const int PagePlace = 2048;

    private byte* _start;

    /// <summary>Takes memory.</summary>
    /// <param name="length">In bytes.</param>
    /// <exception cref="InsufficientMemoryException">The system has none.</exception>
    internal ServerBuffer(int length)
    {
        Length = length;
        var start = Map(null, (nuint)length + PagePlace, ReadWrite, PrivateAnonymous, -1, 0);
        if ((nint)start == -1)
        {
            throw new InsufficientMemoryException($"the system has no {length} bytes for a request");
        }

        _start = (byte*)start + PagePlace;
    }

    /// <summary>How long it is, in bytes.</summary>
    internal int Length { get; }

    public override Span<byte> GetSpan()
    {
        ObjectDisposedException.ThrowIf(_start == null, this);
        return new Span<byte>(_start, Length);
    }

    public override MemoryHandle Pin(int elementIndex = 0)
    {
        ObjectDisposedException.ThrowIf(_start == null, this);
        return new MemoryHandle(_start + elementIndex, pinnable: this);
    }

    public override void Unpin()
    {
    }

    /// <summary>Gives the memory back to the system.</summary>
    internal void Free() => ((IDisposable)this).Dispose();

    protected override void Dispose(bool disposing)
    {
        if (_start != null)
        {
            _ = Unmap(_start - PagePlace, (nuint)Length + PagePlace);
            _start = null;
        }
    }

    [LibraryImport("libc", EntryPoint = "mmap64")]
    private static partial void* Map(void* wanted, nuint length, int protection, int flags, int file, long offset);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(void* start, nuint length);
}
