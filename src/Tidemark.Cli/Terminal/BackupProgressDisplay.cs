using Tidemark.Backup.Running;

namespace Tidemark.Cli.Terminal;

/// <summary>Shows a backup or a restore on standard error: what is
/// being done, how far it is, what the user should know.</summary>
internal sealed class BackupProgressDisplay : IBackupProgress, IAsyncDisposable
{
    private readonly CommandConsole _console;
    private readonly ProgressMeter _meter;
    private readonly string _prefix;
    private readonly bool _showsNotes;

    /// <summary>Starts to show.</summary>
    /// <param name="console">Where.</param>
    /// <param name="prefix">What the line begins with; may be empty.</param>
    /// <param name="showsNotes">Whether advice is printed; the demo has its own words.</param>
    public BackupProgressDisplay(CommandConsole console, string prefix = "", bool showsNotes = true)
    {
        _console = console;
        _showsNotes = showsNotes;
        _prefix = prefix.Length > 0 ? prefix + ": " : "";
        _meter = new ProgressMeter(console, _prefix + "starting");
    }

    /// <inheritdoc/>
    public void Phase(string text) => _meter.Begin(_prefix + text);

    /// <inheritdoc/>
    public void Note(string text)
    {
        if (_showsNotes)
        {
            _console.WriteMessage($"tidemark: note: {text}");
        }
    }

    /// <inheritdoc/>
    public void Report(IReadOnlyList<DiskProgress> disks)
    {
        long done = 0, total = 0;
        foreach (var disk in disks)
        {
            done += disk.BytesDone;
            total += disk.BytesTotal;
        }

        if (total > 0)
        {
            _meter.Report(done, total, _prefix + Names(disks));
        }
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => _meter.DisposeAsync();

    // One disk by its name; of several those that are not done.
    private static string Names(IReadOnlyList<DiskProgress> disks)
    {
        const int MaximumNames = 3;
        var open = disks.Where(disk => disk.BytesDone < disk.BytesTotal).Select(disk => disk.Name).ToList();
        return open.Count switch
        {
            0 => string.Join(", ", disks.Take(MaximumNames).Select(disk => disk.Name)),
            <= MaximumNames => string.Join(", ", open),
            _ => $"{string.Join(", ", open.Take(MaximumNames))} and {open.Count - MaximumNames} more",
        };
    }
}
