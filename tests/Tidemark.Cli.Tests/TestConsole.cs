using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Tests;

/// <summary>A console in memory, and the program run in it.</summary>
internal sealed class TestConsole : IDisposable
{
    private readonly StringWriter _output = new();
    private readonly StringWriter _error = new();

    public TestConsole(
        Dictionary<string, string>? environment = null,
        Func<string, string?>? readSecret = null,
        TimeProvider? time = null,
        bool isTerminal = false)
    {
        var variables = environment ?? [];
        Console = new CommandConsole(
            TextWriter.Synchronized(_output),
            TextWriter.Synchronized(_error),
            name => variables.GetValueOrDefault(name),
            readSecret)
        {
            Time = time ?? TimeProvider.System,
            IsErrorTerminal = isTerminal,
        };
    }

    public CommandConsole Console { get; }

    public string Output => _output.ToString();

    public string Error => _error.ToString();

    public Task<int> RunAsync(params string[] arguments) =>
        Application.RunAsync(arguments, Console, TestContext.Current.CancellationToken);

    public void Dispose() => Console.Dispose();
}
