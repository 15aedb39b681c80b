namespace Tidemark.Cli.Terminal;

/// <summary>
/// Shows how far a piece of work is: amount, share, rate and time left. On a terminal it is one line that is rewritten;
/// elsewhere a plain line from time to time, so that a log shows that the work goes on and is not flooded.
/// </summary>
/// <remarks>
/// Thread-safe. The rate is an average over the last seconds, so that a pause shows and a start does not spoil the time
/// left. Nothing is shown for work that ends before the first interval. At disposal the line is gone.
/// </remarks>
internal sealed class ProgressMeter : IAsyncDisposable
{
    /// <summary>How often the line on a terminal is rewritten.</summary>
    public static readonly TimeSpan LiveInterval = TimeSpan.FromMilliseconds(150);

    /// <summary>How often a plain line is written elsewhere.</summary>
    public static readonly TimeSpan PlainInterval = TimeSpan.FromSeconds(5);

    private static readonly TimeSpan s_rateWindow = TimeSpan.FromSeconds(4);

    private readonly CommandConsole _console;
    private readonly ITimer _timer;
    private readonly Lock _gate = new();

    // Guarded by _gate.
    private readonly Queue<(long Timestamp, long Done)> _samples = [];
    private string _activity;
    private long _doneBytes;
    private long _totalBytes;
    private bool _disposed;

    /// <summary>Starts to show.</summary>
    /// <param name="console">Where to.</param>
    /// <param name="activity">What is being done, for example <c>disk0</c>.</param>
    /// <param name="totalBytes">How much there is to do; 0 when that is not known.</param>
    public ProgressMeter(CommandConsole console, string activity, long totalBytes = 0)
    {
        _console = console;
        _activity = activity;
        _totalBytes = totalBytes;
        _samples.Enqueue((console.Time.GetTimestamp(), 0));
        var interval = console.IsErrorTerminal ? LiveInterval : PlainInterval;
        _timer = console.Time.CreateTimer(_ => Show(), null, interval, interval);
    }

    /// <summary>Says how far the work is.</summary>
    /// <param name="doneBytes">Bytes done so far.</param>
    /// <param name="totalBytes">Bytes there are to do; 0 leaves what was known.</param>
    /// <param name="activity">What is being done; null leaves what it was.</param>
    public void Report(long doneBytes, long totalBytes = 0, string? activity = null)
    {
        lock (_gate)
        {
            _activity = activity ?? _activity;
            _doneBytes = doneBytes;
            _totalBytes = totalBytes == 0 ? _totalBytes : totalBytes;
        }
    }

    /// <summary>Begins the next piece of work; the rate begins anew.</summary>
    public void Begin(string activity, long totalBytes = 0)
    {
        lock (_gate)
        {
            _activity = activity;
            _doneBytes = 0;
            _totalBytes = totalBytes;
            _samples.Clear();
            _samples.Enqueue((_console.Time.GetTimestamp(), 0));
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        lock (_gate)
        {
            _disposed = true;
        }

        await _timer.DisposeAsync();
        await _console.EndLiveAsync();
    }

    private void Show()
    {
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            var line = Line();
            if (_console.IsErrorTerminal)
            {
                _console.ShowLive(line, _totalBytes > 0 ? Math.Clamp((double)_doneBytes / _totalBytes, 0, 1) : null);
            }
            else
            {
                _console.WriteMessage(line);
            }
        }
    }

    private string Line()
    {
        var now = _console.Time.GetTimestamp();
        _samples.Enqueue((now, _doneBytes));
        while (_samples.Count > 2 && _console.Time.GetElapsedTime(_samples.Peek().Timestamp, now) > s_rateWindow)
        {
            _samples.Dequeue();
        }

        var (then, before) = _samples.Peek();
        var seconds = _console.Time.GetElapsedTime(then, now).TotalSeconds;
        var rate = seconds > 0 ? (_doneBytes - before) / seconds : 0;
        if (_doneBytes == 0 && _totalBytes == 0)
        {
            return _activity;
        }

        var line = $"{_activity}  {ByteSize.Format(_doneBytes)}";
        if (_totalBytes > 0)
        {
            // Rounded down: 100 % is shown only when it is done.
            var share = Math.Clamp(Math.Floor(100.0 * _doneBytes / _totalBytes), 0, 100);
            line += $" of {ByteSize.Format(_totalBytes)}  {share:0} %";
        }

        line += $"  {ByteSize.Format((long)Math.Max(rate, 0))}/s";
        var left = _totalBytes - _doneBytes;
        return rate >= 1 && left > 0 ? $"{line}  {Duration.Clock(TimeSpan.FromSeconds(left / rate))} left" : line;
    }
}
