namespace Tidemark.Nbd.Server;

/// <summary>
/// The memory of one server's requests: arrays that its workers take and give back, the last one first, so that what is
/// used next lies in a processor's cache. The runtime's shared pool keeps arrays for each thread that ever used one;
/// a server with many threads would grow by that.
/// </summary>
/// <remarks>Thread-safe. How many bytes are taken at once is limited by <see cref="ByteBudget"/>; how many are kept, by
/// <see cref="MaximumKept"/>.</remarks>
internal sealed class ServerBuffers
{
    /// <summary>Room for the headers that stand before a payload whose length is a power of two.</summary>
    internal const int HeaderRoom = 4096;

    /// <summary>The bytes of arrays that nobody uses and that are kept all the same.</summary>
    internal const long MaximumKept = 16L << 20;

    private const int SmallestShift = 16;

    private readonly Lock _gate = new();

    // Guarded by _gate. One stack for each power of two from 64 KiB on.
    private readonly Stack<byte[]>[] _kept =
        [.. Enumerable.Range(0, 32 - SmallestShift).Select(_ => new Stack<byte[]>())];

    private long _keptBytes;
    private int _taken;

    /// <summary>How many arrays are taken and not given back.</summary>
    internal int Taken => Volatile.Read(ref _taken);

    /// <summary>Takes an array of at least this length; its content is undefined.</summary>
    internal byte[] Take(int length)
    {
        var index = ClassOf(length);
        lock (_gate)
        {
            _taken++;
            if (_kept[index].TryPop(out var array))
            {
                _keptBytes -= array.Length;
                return array;
            }
        }

        return GC.AllocateUninitializedArray<byte>((1 << (index + SmallestShift)) + HeaderRoom);
    }

    /// <summary>Gives an array back that was taken here. Those of other lengths, which may be of no more use, make room
    /// for it.</summary>
    internal void GiveBack(byte[] array)
    {
        var own = ClassOf(array.Length);
        lock (_gate)
        {
            _taken--;
            for (var index = 0; index < _kept.Length; index++)
            {
                while (index != own && _keptBytes + array.Length > MaximumKept && _kept[index].TryPop(out var other))
                {
                    _keptBytes -= other.Length;
                }
            }

            if (_keptBytes + array.Length <= MaximumKept)
            {
                _kept[own].Push(array);
                _keptBytes += array.Length;
            }
        }
    }

    private static int ClassOf(int length) =>
        Math.Max(0, 32 - int.LeadingZeroCount(Math.Max(1, length - HeaderRoom) - 1) - SmallestShift);
}
