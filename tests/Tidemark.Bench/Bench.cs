namespace Tidemark.Bench;

/// <summary>One run of the bench: its disk, its folder and its results so far.</summary>
internal sealed class Bench(BenchOptions options, string folder, BenchDisk disk)
{
    private readonly List<Result> _results = [];

    public BenchOptions Options => options;

    public string Folder => folder;

    public BenchDisk Disk => disk;

    public IReadOnlyList<Result> Results => _results;

    /// <summary>Whether contests of such names are wanted.</summary>
    public bool Wants(string names) => names.Contains(options.Only, StringComparison.OrdinalIgnoreCase);

    public async Task RunAsync(Contest contest)
    {
        var results = await contest.RunAsync(options.Repetitions);
        _results.AddRange(results);
        Report.Print(results);
    }
}
