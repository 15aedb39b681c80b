namespace Tidemark.Backup.Transfer;

/// <summary>What has moved for one disk. Thread-safe.</summary>
internal sealed class TransferCounters
{
    private long _bytesRead;
    private long _bytesDone;
    private long _bytesTotal;

    /// <summary>Bytes of data that came from the hypervisor.</summary>
    internal long BytesRead => Interlocked.Read(ref _bytesRead);

    /// <summary>Bytes of the disk that are dealt with, by whatever means.</summary>
    internal long BytesDone => Interlocked.Read(ref _bytesDone);

    /// <summary>Bytes of the disk that are to be dealt with.</summary>
    internal long BytesTotal
    {
        get => Interlocked.Read(ref _bytesTotal);
        set => Interlocked.Exchange(ref _bytesTotal, value);
    }

    internal void AddRead(long count) => Interlocked.Add(ref _bytesRead, count);

    internal void AddDone(long count) => Interlocked.Add(ref _bytesDone, count);

    internal void Restart() => Interlocked.Exchange(ref _bytesDone, 0);
}
