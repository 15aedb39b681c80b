using System.Diagnostics;
using System.Text.Json.Nodes;
using Tidemark.Qmp;
using Tidemark.Testing;

namespace Tidemark.Engine.Tests.Interop;

/// <summary>QEMU's own storage daemon, in a directory of the test's own.</summary>
internal sealed class RealDaemon : IAsyncDisposable
{
    private readonly TemporaryDirectory _folder = new();
    private readonly Process _process;

    private RealDaemon(string program) => _process = Process.Start(
        program,
        ["--chardev", $"socket,id=m,path={_folder.File("m")},server=on,wait=off", "--monitor", "chardev=m"]);

    internal string Folder => _folder.Path;

    internal QmpConnection Monitor { get; private set; } = null!;

    internal static async Task<RealDaemon> StartAsync(string program = "qemu-storage-daemon")
    {
        var daemon = new RealDaemon(program);
        try
        {
            await daemon.ConnectAsync();
            return daemon;
        }
        catch
        {
            await daemon.DisposeAsync();
            throw;
        }
    }

    private async Task ConnectAsync()
    {
        for (var attempt = 0; Monitor is null; attempt++)
        {
            try
            {
                Monitor = await QmpConnection.ConnectAsync(QmpEndPoint.Unix(_folder.File("m")));
            }
            catch (QmpException) when (attempt < 500 && !_process.HasExited)
            {
                // Its socket is not there, or it does not listen yet.
                await Task.Delay(TimeSpan.FromMilliseconds(10));
            }
        }
    }

    internal Task DoAsync(string command, string arguments) => Monitor.ExecuteAsync(
        new QmpCommand(command, JsonNode.Parse(arguments)!.AsObject())).WaitAsync(TimeSpan.FromSeconds(60));

    /// <summary>Deletes a node which an export that was just deleted may hold for a moment longer.</summary>
    internal async Task DeleteNodeAsync(string name)
    {
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                await DoAsync("blockdev-del", new JsonObject { ["node-name"] = name }.ToJsonString());
                return;
            }
            catch (QmpException exception) when (attempt < 500 && exception.Description.Contains("in use"))
            {
                await Task.Delay(TimeSpan.FromMilliseconds(10));
            }
        }
    }

    /// <summary>Ends it as an administrator does; it closes its images.</summary>
    internal async Task QuitAsync()
    {
        try
        {
            await DoAsync("quit", "{}");
        }
        catch (QmpException)
        {
            // It may hang up before its reply was read.
        }

        await _process.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(60));
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
