using System.Diagnostics;

namespace Tidemark.Bench.Contests;

/// <summary>A server of one raw file on a unix socket.</summary>
internal sealed class NbdServerProcess : IAsyncDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    private readonly Process _process;

    private NbdServerProcess(string who, string socket, Process process)
    {
        Who = who;
        Uri = $"nbd+unix:///?socket={socket}";
        _process = process;
        var waited = Stopwatch.StartNew();
        while (!File.Exists(socket))
        {
            if (process.HasExited || waited.Elapsed > s_patience)
            {
                process.Kill();
                throw new InvalidOperationException($"{who} does not listen: {process.StandardError.ReadToEnd()}");
            }

            Thread.Sleep(TimeSpan.FromMilliseconds(5));
        }
    }

    public string Who { get; }

    public string Uri { get; }

    public int Id => _process.Id;

    public static NbdServerProcess Tidemark(
        string who, string program, string folder, string file, string format = "raw") =>
        Start(who, folder, socket => Programs.Start(
            program, ["nbd", "serve", file, "--format", format, "--socket", socket]));

    public static NbdServerProcess QemuNbd(
        string folder, string file, string format = "raw", string program = "qemu-nbd") =>
        Start("qemu-nbd", folder, socket => Programs.Start(
            program, ["-k", socket, "-f", format, "-t", "-e", "16", "--cache=writeback", file]));

    public static NbdServerProcess Nbdkit(string folder, string file) =>
        Start("nbdkit file", folder, socket => Programs.Start(
            "nbdkit", ["--foreground", "-U", socket, "file", file]));

    public async ValueTask DisposeAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
    }

    private static NbdServerProcess Start(string who, string folder, Func<string, Process> start)
    {
        var socket = Path.Combine(folder, $"{Guid.NewGuid():N}"[..8] + ".sock");
        return new NbdServerProcess(who, socket, start(socket));
    }
}
