namespace Tidemark.Nbd.Server;

/// <summary>
/// The memory of one server's requests: buffers that its workers take and give back, the last one first, so that what
/// is used next lies in a processor's cache. Not the runtime's shared pool, which keeps arrays for each thread that
/// ever used one: a server with many threads would grow by that.
/// </summary>
/// <remarks>Thread-safe. How many bytes are taken at once is limited by <see cref="ByteBudget"/>; how many are kept, by
/// the same limit or <see cref="MaximumKept"/>. When requests change their length, what is kept for the old one makes
/// room first, so that not both are resident.</remarks>
/// <param name="limit">The bytes that requests hold at once; no more are worth keeping.</param>
internal sealed class ServerBuffers(long limit) : IDisposable
{
    /// <summary>Room for the headers that stand before a payload whose length is a power of two.</summary>
    internal const int HeaderRoom = 4096;

    /// <summary>The most bytes of buffers that nobody uses and that are kept all the same.</summary>
    internal const long MaximumKept = 16L << 20;

    private const int SmallestShift = 16;

    private readonly Lock _gate = new();
    private readonly long _mostKept = Math.Min(limit, MaximumKept);

    // Guarded by _gate. One stack for each power of two from 64 KiB on.
    private readonly Stack<ServerBuffer>[] _kept =
        [.. Enumerable.Range(0, 32 - SmallestShift).Select(_ => new Stack<ServerBuffer>())];

    private long _keptBytes;
    private long _takenBytes;
    private int _taken;
    private bool _disposed;

    /// <summary>What a server that nobody disposed had kept; nothing uses it.</summary>
    ~ServerBuffers() => MakeRoom(-1, 0);

    /// <summary>How many buffers are taken and not given back.</summary>
    internal int Taken => Volatile.Read(ref _taken);

    /// <summary>The bytes of all buffers, taken or kept.</summary>
    internal long HeldBytes
    {
        get
        {
            lock (_gate)
            {
                return _keptBytes + _takenBytes;
            }
        }
    }

    /// <summary>Takes a buffer of at least this length; its content is undefined.</summary>
    internal ServerBuffer Take(int length)
    {
        var index = ClassOf(length);
        var size = (1 << (index + SmallestShift)) + HeaderRoom;
        lock (_gate)
        {
            if (_kept[index].TryPop(out var buffer))
            {
                _keptBytes -= buffer.Length;
            }
            else
            {
                MakeRoom(index, _mostKept - _takenBytes - size);
                buffer = new ServerBuffer(size);
            }

            _taken++;
            _takenBytes += buffer.Length;
            return buffer;
        }
    }

    /// <summary>Gives a buffer back that was taken here. Those of other lengths, which may be of no more use, make room
    /// for it.</summary>
    internal void GiveBack(ServerBuffer buffer)
    {
        var own = ClassOf(buffer.Length);
        lock (_gate)
        {
            _taken--;
            _takenBytes -= buffer.Length;
            MakeRoom(own, _mostKept - buffer.Length);
            if (!_disposed && _keptBytes + buffer.Length <= _mostKept)
            {
                _kept[own].Push(buffer);
                _keptBytes += buffer.Length;
                return;
            }
        }

        buffer.Free();
    }

    /// <summary>Frees what is kept, and from here on what is given back.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            _disposed = true;
            MakeRoom(-1, 0);
        }

        GC.SuppressFinalize(this);
    }

    // Frees what is kept of other lengths, until no more than so many bytes are kept.
    private void MakeRoom(int own, long limit)
    {
        for (var index = 0; index < _kept.Length; index++)
        {
            while (index != own && _keptBytes > limit && _kept[index].TryPop(out var other))
            {
                _keptBytes -= other.Length;
                other.Free();
            }
        }
    }

    private static int ClassOf(int length) =>
        Math.Max(0, 32 - int.LeadingZeroCount(Math.Max(1, length - HeaderRoom) - 1) - SmallestShift);
}
