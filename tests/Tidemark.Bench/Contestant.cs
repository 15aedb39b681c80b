namespace Tidemark.Bench;

/// <summary>One of those that do the same work in one contest.</summary>
/// <param name="Who">Its name in the table; ours begins with <c>tidemark</c>.</param>
/// <param name="Run">The measured work. Returns the figure if it
/// measures itself (requests per second), else null.</param>
internal sealed record Contestant(string Who, Func<Task<double?>> Run)
{
    /// <summary>Whatever must be done before each run and is not measured.</summary>
    public Func<Task> Prepare { get; init; } = () => Task.CompletedTask;

    /// <summary>The daemons whose processor time counts beside that of the processes which the run starts.</summary>
    public IReadOnlyList<int> Daemons { get; init; } = [];

    public bool IsOurs => Who.StartsWith("tidemark", StringComparison.Ordinal);
}
