using System.Text;
using Spectre.Console;

namespace Tidemark.Cli.Terminal;

/// <summary>
/// The program's three streams and its environment. Results go to <see cref="Output"/>; progress, messages and errors
/// go to <see cref="Error"/>, so that a result can be piped on.
/// </summary>
/// <remarks>Thread-safe where it writes messages: a live progress line gives way to a message and comes back.</remarks>
internal sealed class CommandConsole : IDisposable
{
    /// <summary>When it is 1, an error brings its stack trace and the libraries' log.</summary>
    public const string DebugVariable = "TIDEMARK_DEBUG";

    private const int MinimumWidth = 40;

    // Results are never broken or cut, on no output: a column that is left out of a table may be the one that says
    // "DIFFERENT". A pipe has no width, and a terminal breaks lines itself.
    private const int Unbounded = 100_000;

    private readonly Lock _gate = new();
    private readonly Func<string, string?> _environment;
    private readonly Func<string, string?> _readSecret;
    private IAnsiConsole? _results;
    private LiveLine? _live;

    /// <summary>Creates a console over any streams; the caller keeps them.</summary>
    /// <param name="output">Where results go.</param>
    /// <param name="error">Where everything else goes.</param>
    /// <param name="environment">Reads an environment variable.</param>
    /// <param name="readSecret">Asks on the terminal without echo,
    /// given the prompt; null when there is no terminal.</param>
    public CommandConsole(
        TextWriter output, TextWriter error, Func<string, string?> environment, Func<string,
        string?>? readSecret = null)
    {
        Output = output;
        Error = error;
        _environment = environment;
        _readSecret = readSecret ?? (_ => null);
    }

    /// <summary>Where results go.</summary>
    public TextWriter Output { get; }

    /// <summary>Where everything else goes.</summary>
    public TextWriter Error { get; }

    /// <summary>Whether a person watches standard error: a line may be rewritten.</summary>
    public bool IsErrorTerminal { get; init; }

    /// <summary>Whether results may be coloured.</summary>
    public bool HasOutputColour { get; init; }

    /// <summary>Whether progress may be coloured.</summary>
    public bool HasErrorColour { get; init; }

    /// <summary>How wide the terminal of standard error is, in characters.</summary>
    public int ErrorWidth { get; init; } = 100;

    /// <summary>Draws tables and coloured text on <see cref="Output"/>.</summary>
    /// <remarks>Made when something is drawn: a start that draws nothing does not load the library.</remarks>
    public IAnsiConsole Results => _results ??= Draw(Output, HasOutputColour, Unbounded);

    /// <summary>The clock of progress, rates and reports.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Whether stack traces and the libraries' log are wanted.</summary>
    public bool IsDebug => Variable(DebugVariable) == "1";

    /// <summary>The console of this process.</summary>
    public static CommandConsole ForProcess()
    {
        static StreamWriter Open(Stream stream) =>
            new(stream, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false)) { AutoFlush = true };

        var errorIsTerminal = !Console.IsErrorRedirected && Environment.GetEnvironmentVariable("TERM") != "dumb";
        var outputIsTerminal = !Console.IsOutputRedirected && Environment.GetEnvironmentVariable("TERM") != "dumb";
        var allowsColour = string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));
        return new CommandConsole(
            Open(Console.OpenStandardOutput()),
            Open(Console.OpenStandardError()),
            Environment.GetEnvironmentVariable,
            Console.IsInputRedirected || Console.IsErrorRedirected ? null : SecretPrompt.Read)
        {
            IsErrorTerminal = errorIsTerminal,
            HasErrorColour = errorIsTerminal && allowsColour,
            HasOutputColour = outputIsTerminal && allowsColour,
            ErrorWidth = errorIsTerminal ? Math.Max(MinimumWidth, Console.WindowWidth) : 100,
        };
    }

    /// <summary>An environment variable; null when it is not set or empty.</summary>
    public string? Variable(string name) => _environment(name) is { Length: > 0 } value ? value : null;

    /// <summary>Asks for a secret on the terminal, without echo; null when there is no terminal to ask on.</summary>
    public string? ReadSecret(string prompt) => _readSecret(prompt);

    /// <summary>Writes one error line.</summary>
    public void WriteError(string text) => WriteMessage($"tidemark: error: {text}");

    /// <summary>Writes one warning line.</summary>
    public void WriteWarning(string text) => WriteMessage($"tidemark: warning: {text}");

    /// <summary>Writes one line to standard error; a live line gives way.</summary>
    public void WriteMessage(string text)
    {
        lock (_gate)
        {
            if (_live is not null)
            {
                _live.WriteMessage(text);
            }
            else
            {
                Error.WriteLine(text);
            }

            Error.Flush();
        }
    }

    /// <summary>Shows or replaces the live line. Only for a terminal.</summary>
    /// <param name="text">What it says.</param>
    /// <param name="share">How much is done, 0 to 1; null when that is not known.</param>
    public void ShowLive(string text, double? share)
    {
        lock (_gate)
        {
            _live ??= new LiveLine(Draw(Error, HasErrorColour, ErrorWidth, isInteractive: true), text);
            _live.Show(text, share);
            Error.Flush();
        }
    }

    /// <summary>Removes the live line, if there is one.</summary>
    public async Task EndLiveAsync()
    {
        Task ended;
        lock (_gate)
        {
            ended = _live?.EndAsync() ?? Task.CompletedTask;
            _live = null;
        }

        await ended;
        await Error.FlushAsync();
    }

    /// <summary>Gives the terminal its cursor back when the process ends while a live line stands.</summary>
    public void ShowCursor()
    {
        // Without the lock: who wants to end at once does not wait for it.
        if (_live is not null)
        {
            Error.Write("\u001b[?25h");
            Error.Flush();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Output.Flush();
        Error.Flush();
    }

    // All is said: nothing is guessed from the machine's environment (a CI system's variables, say).
    private static IAnsiConsole Draw(TextWriter writer, bool hasColour, int width, bool isInteractive = false)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Ansi = hasColour || isInteractive ? AnsiSupport.Yes : AnsiSupport.No,
            ColorSystem = hasColour ? ColorSystemSupport.Standard : ColorSystemSupport.NoColors,
            Interactive = isInteractive ? InteractionSupport.Yes : InteractionSupport.No,
            Out = new AnsiConsoleOutput(writer),
            Enrichment = new ProfileEnrichment { UseDefaultEnrichers = false },
        });
        console.Profile.Width = width;
        console.Profile.Capabilities.Unicode = true;
        return console;
    }
}
