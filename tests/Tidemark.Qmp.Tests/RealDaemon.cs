using System.Diagnostics;
using Tidemark.Testing;

namespace Tidemark.Qmp.Tests;

/// <summary>A qemu-storage-daemon of the test's own.</summary>
internal sealed class RealDaemon : IAsyncDisposable
{
    private readonly TemporaryDirectory _folder = new();
    private readonly Process _process;

    private RealDaemon() => _process = Process.Start(
        "qemu-storage-daemon",
        ["--chardev", $"socket,id=m,path={EndPoint.Path},server=on,wait=off", "--monitor", "chardev=m"]);

    internal QmpEndPoint EndPoint => QmpEndPoint.Unix(_folder.File("m"));

    internal static async Task<RealDaemon> StartAsync()
    {
        var daemon = new RealDaemon();
        for (var attempt = 0; !System.IO.File.Exists(daemon.EndPoint.Path) && attempt < 500; attempt++)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(10));
        }

        return daemon;
    }

    internal string File(string name) => _folder.File(name);

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
        }

        await _process.WaitForExitAsync();
        _process.Dispose();
        _folder.Dispose();
    }
}
