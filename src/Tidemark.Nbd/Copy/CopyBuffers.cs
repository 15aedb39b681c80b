namespace Tidemark.Nbd.Copy;

/// <summary>The buffers of one copy: the last one given back is the next one taken, so that what is used lies in a
/// processor's cache.</summary>
/// <remarks>Thread-safe. There are never more than lanes, which hold one each at most.</remarks>
internal sealed class CopyBuffers(int length)
{
    private readonly Lock _gate = new();

    // Guarded by _gate.
    private readonly Stack<byte[]> _free = [];

    /// <summary>How many were made.</summary>
    internal int Made { get; private set; }

    /// <summary>Takes a buffer; its content is undefined.</summary>
    internal byte[] Take()
    {
        lock (_gate)
        {
            if (_free.TryPop(out var buffer))
            {
                return buffer;
            }

            Made++;
        }

        return GC.AllocateUninitializedArray<byte>(length);
    }

    /// <summary>Gives a buffer back that no request uses any more.</summary>
    internal void GiveBack(byte[] buffer)
    {
        lock (_gate)
        {
            _free.Push(buffer);
        }
    }
}
