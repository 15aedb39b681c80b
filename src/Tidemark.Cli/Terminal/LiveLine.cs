using Spectre.Console;

namespace Tidemark.Cli.Terminal;

/// <summary>One line at the foot of a terminal that is rewritten: a bar and a text. Spectre.Console draws it.</summary>
/// <remarks>Not thread-safe. The line stands from the first <see cref="Show"/> to <see cref="EndAsync"/>.</remarks>
internal sealed class LiveLine
{
    private const int BarWidth = 12;

    private readonly IAnsiConsole _console;
    private readonly TaskCompletionSource _ended = new();
    private readonly Task _display;
    private ProgressContext? _context;
    private ProgressTask? _task;

    /// <summary>Takes the line; nothing is drawn yet.</summary>
    /// <param name="console">The terminal; nothing else may be live on it.</param>
    /// <param name="text">What it will say; not empty.</param>
    public LiveLine(IAnsiConsole console, string text)
    {
        _console = console;

        // Whoever measures has the timer; a second one would only draw the same again.
        var progress = console.Progress().AutoRefresh(false).AutoClear(true).Columns(
            new ProgressBarColumn { Width = BarWidth }, new TaskDescriptionColumn { Alignment = Justify.Left });
        progress.ExcludeVerticalPadding = true;
        _display = progress.StartAsync(context =>
        {
            _context = context;
            _task = context.AddTask(Markup.Escape(text), maxValue: 1);
            return _ended.Task;
        });
    }

    /// <summary>Draws the line anew.</summary>
    /// <param name="text">What it says; cut at the terminal's width.</param>
    /// <param name="share">How much is done, 0 to 1; null when that is not known.</param>
    public void Show(string text, double? share)
    {
        if (_task is null || _context is null)
        {
            return;
        }

        _task.Description = Markup.Escape(text);
        _task.IsIndeterminate = share is null;
        _task.Value = share ?? 0;
        _context.Refresh();
    }

    /// <summary>Writes a line above, which stays.</summary>
    public void WriteMessage(string text)
    {
        // The message is drawn over the live line, which may be the longer one.
        _console.WriteAnsi(writer => writer.EraseInLine(2));
        _console.WriteLine(text);
    }

    /// <summary>Removes the line.</summary>
    public Task EndAsync()
    {
        _ended.TrySetResult();
        return _display;
    }
}
