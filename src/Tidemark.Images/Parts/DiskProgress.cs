namespace Tidemark.Images.Parts;

/// <summary>How far a run over a disk is. Thread-safe.</summary>
/// <param name="report">Told the share that is done, 0 to 1, about a hundred times at most; may be null.</param>
internal sealed class DiskProgress(Action<double>? report)
{
    private const int Steps = 100;

    private readonly Lock _gate = new();
    private long _total = 1;
    private long _done;
    private int _step = -1;

    /// <summary>Sets what all is.</summary>
    internal void Begin(long total)
    {
        (_total, _done) = (Math.Max(1, total), 0);
        Add(0);
    }

    /// <summary>Adds what is done.</summary>
    internal void Add(long bytes)
    {
        var done = Interlocked.Add(ref _done, bytes);
        if (report is null || (int)(Steps * (double)done / _total) <= Volatile.Read(ref _step))
        {
            return;
        }

        lock (_gate)
        {
            var share = Math.Min(1.0, (double)Volatile.Read(ref _done) / _total);
            if ((int)(Steps * share) > _step)
            {
                _step = (int)(Steps * share);
                report(share);
            }
        }
    }
}
