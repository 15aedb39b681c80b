using System.Diagnostics;
using Tidemark.Qmp;
using Tidemark.Testing;

namespace Tidemark.Engine.Tests.Interop;

/// <summary>QEMU's own storage daemon, in a directory of the test's own.</summary>
internal sealed class RealDaemon : IAsyncDisposable
{
    private readonly TemporaryDirectory _folder = new();
    private readonly Process _process;

    private RealDaemon() => _process = Process.Start(
        "qemu-storage-daemon",
        ["--chardev", $"socket,id=m,path={_folder.File("m")},server=on,wait=off", "--monitor", "chardev=m"]);

    internal string Folder => _folder.Path;

    internal QmpConnection Monitor { get; private set; } = null!;

    internal static async Task<RealDaemon> StartAsync()
    {
        var daemon = new RealDaemon();
        for (var attempt = 0; !File.Exists(daemon._folder.File("m")) && attempt < 500; attempt++)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(10));
        }

        daemon.Monitor = await QmpConnection.ConnectAsync(QmpEndPoint.Unix(daemon._folder.File("m")));
        return daemon;
    }

    public async ValueTask DisposeAsync()
    {
        if (Monitor is not null)
        {
            await Monitor.DisposeAsync();
        }

        if (!_process.HasExited)
        {
            _process.Kill();
        }

        await _process.WaitForExitAsync();
        _process.Dispose();
        _folder.Dispose();
    }
}
