using System.Diagnostics;

namespace Tidemark.Cli.Tests.Nbd;

/// <summary><c>nbd serve</c> in this process, until it ends by itself or is stopped as a signal would
/// stop it.</summary>
internal sealed class NbdServing : IAsyncDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    private readonly CancellationTokenSource _stop = new();
    private readonly TestConsole _console = new();
    private Task<int>? _run;

    /// <summary>What it said on standard error.</summary>
    public string Error => _console.Error;

    /// <summary>The line that it printed when it was ready.</summary>
    public string Uri => _console.Output.Trim();

    public static async Task<NbdServing> StartAsync(params string[] arguments)
    {
        var serving = new NbdServing();
        serving._run = Task.Run(() => Application.RunAsync(
            ["nbd", "serve", .. arguments], serving._console.Console, serving._stop.Token));
        var watch = Stopwatch.StartNew();
        while (!serving._console.Output.Contains('\n', StringComparison.Ordinal))
        {
            if (serving._run.IsCompleted || watch.Elapsed > s_patience)
            {
                await serving.StopAsync();
                throw new InvalidOperationException($"it does not serve: {serving.Error}");
            }

            await Task.Delay(TimeSpan.FromMilliseconds(5));
        }

        return serving;
    }

    /// <summary>Stops it and returns its exit code.</summary>
    public async Task<int> StopAsync()
    {
        await _stop.CancelAsync();
        return await EndAsync();
    }

    /// <summary>Waits until it ends by itself; returns its exit code.</summary>
    public Task<int> EndAsync() => _run!.WaitAsync(s_patience);

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _console.Dispose();
        _stop.Dispose();
    }
}
