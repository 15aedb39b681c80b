using System.Text;

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

    private const string EraseLine = "\r\u001b[2K";

    private readonly Lock _gate = new();
    private readonly Func<string, string?> _environment;
    private readonly Func<string, string?> _readSecret;
    private string _liveLine = "";

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
    public Style OutputStyle { get; init; } = Style.Plain;

    /// <summary>How wide the terminal of standard error is, in characters.</summary>
    public int Width { get; init; } = 100;

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
        var hasColour = !Console.IsOutputRedirected && Environment.GetEnvironmentVariable("TERM") != "dumb"
            && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));
        return new CommandConsole(
            Open(Console.OpenStandardOutput()),
            Open(Console.OpenStandardError()),
            Environment.GetEnvironmentVariable,
            Console.IsInputRedirected || Console.IsErrorRedirected ? null : SecretPrompt.Read)
        {
            IsErrorTerminal = errorIsTerminal,
            OutputStyle = hasColour ? Style.Ansi : Style.Plain,
            Width = errorIsTerminal ? Math.Max(40, Console.WindowWidth) : 100,
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
            if (_liveLine.Length > 0)
            {
                Error.Write(EraseLine);
            }

            Error.WriteLine(text);
            Error.Write(_liveLine);
            Error.Flush();
        }
    }

    /// <summary>Replaces the live line, or removes it when the text is empty. Only for a terminal.</summary>
    public void SetLiveLine(string text)
    {
        lock (_gate)
        {
            if (_liveLine.Length == 0 && text.Length == 0)
            {
                return;
            }

            _liveLine = text.Length < Width ? text : text[..(Width - 1)];
            Error.Write(EraseLine + _liveLine);
            Error.Flush();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        SetLiveLine("");
        Output.Flush();
        Error.Flush();
    }
}
