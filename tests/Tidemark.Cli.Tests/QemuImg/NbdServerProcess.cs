using System.Diagnostics;
using System.Globalization;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.QemuImg;

/// <summary>A qemu-nbd that serves one raw file, until it is disposed.</summary>
internal sealed class NbdServerProcess : IDisposable
{
    private readonly int _processId;

    private NbdServerProcess(int processId) => _processId = processId;

    /// <summary>Starts it; it listens when the call completes.</summary>
    public static async Task<NbdServerProcess> StartAsync(string socket, string file, int places = 8)
    {
        var pidFile = $"{socket}.pid";
        var result = await Tool.RunAsync(
            QemuImgScene.Peer.Program("qemu-nbd"),
            ["--fork", $"--pid-file={pidFile}", "-t", "-e", $"{places}", "-k", socket, "-f", "raw", file]);
        Assert.True(result.ExitCode == 0, result.Error);
        var text = await File.ReadAllTextAsync(pidFile, TestContext.Current.CancellationToken);
        return new NbdServerProcess(int.Parse(text, CultureInfo.InvariantCulture));
    }

    public void Dispose()
    {
        using var process = Process.GetProcessById(_processId);
        process.Kill();
        process.WaitForExit();
    }
}
