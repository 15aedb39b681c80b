using System.Diagnostics;

namespace Tidemark.Fuzz;

/// <summary>Ends the process, with the input saved, when one execution takes longer than it may.</summary>
internal sealed class HangWatch : IDisposable
{
    private readonly Timer _timer;
    private readonly TimeSpan _limit;
    private readonly Action<byte[]> _onHang;
    private byte[]? _input;
    private long _began;

    public HangWatch(TimeSpan limit, Action<byte[]> onHang)
    {
        _limit = limit;
        _onHang = onHang;
        _timer = new Timer(_ => Look(), null, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1));
    }

    public void Begin(byte[] input)
    {
        Volatile.Write(ref _began, Stopwatch.GetTimestamp());
        Volatile.Write(ref _input, input);
    }

    public void End() => Volatile.Write(ref _input, null);

    public void Dispose() => _timer.Dispose();

    private void Look()
    {
        if (Volatile.Read(ref _input) is { } input && Stopwatch.GetElapsedTime(Volatile.Read(ref _began)) > _limit
            && ReferenceEquals(input, Volatile.Read(ref _input)))
        {
            _onHang(input);
        }
    }
}
