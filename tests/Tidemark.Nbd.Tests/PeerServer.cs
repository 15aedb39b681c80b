using System.Diagnostics;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Tests;

/// <summary>A peer's server on a unix socket, ended at disposal.</summary>
internal sealed class PeerServer : IDisposable
{
    private readonly Process _process;

    private PeerServer(Process process, string socket)
    {
        _process = process;
        EndPoint = NbdEndPoint.ForUnix(socket);
    }

    internal NbdEndPoint EndPoint { get; }

    internal static async Task<PeerServer> StartAsync(string socket, string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program) { RedirectStandardError = true, RedirectStandardOutput = true };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        var process = Process.Start(start) ?? throw new InvalidOperationException($"could not start {program}");
        var errors = process.StandardError.ReadToEndAsync();
        var watch = Stopwatch.StartNew();
        while (!IsListening(socket))
        {
            if (process.HasExited || watch.Elapsed > TimeSpan.FromSeconds(20))
            {
                process.Kill();
                throw new InvalidOperationException($"{program} does not listen: {await errors}");
            }

            await Task.Delay(TimeSpan.FromMilliseconds(10));
        }

        return new PeerServer(process, socket);
    }

    // The file is there before anybody listens on it; to try it would be a client's visit, which some servers count.
    private static bool IsListening(string socket)
    {
        const int acceptsConnections = 0x10000;
        return File.ReadLines("/proc/net/unix").Skip(1)
            .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Any(fields => fields.Length > 7 && fields[7] == socket
                && (Convert.ToInt32(fields[3], 16) & acceptsConnections) != 0);
    }

    internal void Kill() => _process.Kill();

    /// <summary>Ends when the program has.</summary>
    internal Task Exited => _process.WaitForExitAsync();

    public void Dispose()
    {
        _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
    }
}
