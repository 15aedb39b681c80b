using System.Diagnostics;

namespace Tidemark.Cli.Tests.Nbd;

/// <summary>A peer's server on a unix socket, ended at disposal.</summary>
internal sealed class NbdPeer : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    private readonly Process _process;

    private NbdPeer(Process process) => _process = process;

    public int Id => _process.Id;

    /// <summary>Starts a program and waits until its socket is there.</summary>
    public static async Task<NbdPeer> StartAsync(string socket, string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program) { RedirectStandardError = true, RedirectStandardOutput = true };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        var process = Process.Start(start) ?? throw new InvalidOperationException($"could not start {program}");
        var output = process.StandardOutput.ReadToEndAsync();
        var errors = process.StandardError.ReadToEndAsync();
        var watch = Stopwatch.StartNew();
        while (!File.Exists(socket))
        {
            if (process.HasExited || watch.Elapsed > s_patience)
            {
                process.Kill();
                throw new InvalidOperationException($"{program} does not listen: {await errors}{await output}");
            }

            await Task.Delay(TimeSpan.FromMilliseconds(10));
        }

        return new NbdPeer(process);
    }

    public void Dispose()
    {
        _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
    }
}
