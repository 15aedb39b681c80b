using System.Diagnostics;

namespace Tidemark.Fuzz;

/// <summary>Ends the process, with the input saved, when one execution takes longer than it may: so much time of the
/// processor, so that a busy machine is no hang; or, for one that waits, many times as much on the clock.</summary>
internal sealed class HangWatch : IDisposable
{
    private const int ClockFactor = 20;

    private readonly Timer _timer;
    private readonly TimeSpan _limit;
    private readonly Action<byte[]> _onHang;
    private byte[]? _input;
    private byte[]? _watched;
    private TimeSpan _spentBefore;
    private long _since;

    public HangWatch(TimeSpan limit, Action<byte[]> onHang)
    {
        _limit = limit;
        _onHang = onHang;
        _timer = new Timer(_ => Look(), null, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1));
    }

    public void Begin(byte[] input) => Volatile.Write(ref _input, input);

    public void End() => Volatile.Write(ref _input, null);

    public void Dispose() => _timer.Dispose();

    // Once a second: the time is counted from when an input is seen first.
    private void Look()
    {
        var input = Volatile.Read(ref _input);
        var spent = Environment.CpuUsage.TotalTime;
        if (input is null || !ReferenceEquals(input, _watched))
        {
            (_watched, _spentBefore, _since) = (input, spent, Stopwatch.GetTimestamp());
        }
        else if (spent - _spentBefore > _limit || Stopwatch.GetElapsedTime(_since) > _limit * ClockFactor)
        {
            _onHang(input);
        }
    }
}
