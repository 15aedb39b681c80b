namespace Tidemark.Bench;

/// <summary>One run of the bench: its disk, its folder and its results so far.</summary>
internal sealed class Bench(BenchOptions options, string folder, BenchDisk disk)
{
    private readonly List<Result> _results = [];

    public BenchOptions Options => options;

    public string Folder => folder;

    public BenchDisk Disk => disk;

    public IReadOnlyList<Result> Results => _results;

    /// <summary>Whether contests of such names are wanted: what was asked for is part of them, or begins with them and
    /// says which (<c>nbd server: 4k</c>).</summary>
    public bool Wants(string names) =>
        names.Contains(options.Only, StringComparison.OrdinalIgnoreCase)
        || options.Only.StartsWith(names, StringComparison.OrdinalIgnoreCase);

    public async Task RunAsync(Contest contest)
    {
        var isOneOfSome = options.Only.Contains(' ', StringComparison.Ordinal);
        if (isOneOfSome && !contest.Name.StartsWith(options.Only, StringComparison.OrdinalIgnoreCase))
        {
            return;
        }

        var results = await contest.RunAsync(options.Repetitions);
        _results.AddRange(results);
        Report.Print(results);
    }
}
