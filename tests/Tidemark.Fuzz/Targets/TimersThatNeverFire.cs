namespace Tidemark.Fuzz.Targets;

/// <summary>The real clock, and timers that cost nothing and never fire: a script has no slow peers.</summary>
internal sealed class TimersThatNeverFire : TimeProvider, ITimer
{
    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
        this;

    public bool Change(TimeSpan dueTime, TimeSpan period) => true;

    public void Dispose()
    {
    }

    public ValueTask DisposeAsync() => default;
}
