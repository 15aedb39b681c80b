namespace Tidemark.Blocks.Copy;

/// <summary>How the background part of a <see cref="BlockCopy"/> goes about it.</summary>
public sealed record BlockCopyRun
{
    /// <summary>How many steps are under way at one time when nothing else is asked for.</summary>
    public const int DefaultWorkers = 8;

    /// <summary>The most steps that may be under way at one time.</summary>
    public const int MaximumWorkers = 64;

    /// <summary>
    /// How many steps are under way at one time, each of at most <see cref="BlockCopy.MaximumStep"/> bytes.
    /// </summary>
    public int Workers { get; init; } = DefaultWorkers;

    /// <summary>
    /// Called before each step with the step's length in bytes: whoever paces or pauses the copy lets it wait here.
    /// It is outside every lock and every request of the graph.
    /// </summary>
    public Func<long, CancellationToken, ValueTask>? BeforeStep { get; init; }

    /// <summary>
    /// Decides what becomes of a step that failed; null to fail. May wait, to let somebody mend the cause.
    /// </summary>
    public Func<BlockCopyError, ValueTask<BlockCopyDecision>>? OnError { get; init; }
}
