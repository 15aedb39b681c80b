using Tidemark.Engine.Daemon;
using Tidemark.Qmp;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Domains;

/// <summary>The embedded engine with two qcow2 disks, and the domain verbs at its monitor.</summary>
internal sealed class EngineScene : IAsyncDisposable
{
    private readonly TemporaryDirectory _folder = new();
    private readonly Task<int> _daemon;

    private EngineScene(string[] disks)
    {
        List<string> arguments =
            ["--chardev", $"socket,id=m,path={Monitor},server=on,wait=off", "--monitor", "chardev=m"];
        foreach (var disk in disks)
        {
            arguments.AddRange(["--blockdev", $"driver=file,node-name={disk}-file,filename={Image(disk)}"]);
            arguments.AddRange(["--blockdev", $"driver=qcow2,node-name={disk},file={disk}-file"]);
        }

        _daemon = StorageDaemon.RunAsync(arguments, TextWriter.Null, TextWriter.Null);
    }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string Monitor => _folder.File("qmp.sock");

    public static async Task<EngineScene> StartAsync(params string[] disks)
    {
        var scene = new EngineScene(disks);
        while (!Path.Exists(scene.Monitor))
        {
            Assert.False(scene._daemon.IsCompleted, "the engine has ended");
            await Task.Delay(10, Token);
        }

        return scene;
    }

    public string File(string name) => _folder.File(name);

    public string Image(string disk)
    {
        var path = _folder.File(disk + ".qcow2");
        if (!System.IO.File.Exists(path))
        {
            var made = RunAsync(["image", "create", "-f", "qcow2", path, "8M"]).GetAwaiter().GetResult();
            Assert.True(made.Code == 0, made.Error);
        }

        return path;
    }

    /// <summary>A verb, and how it ended.</summary>
    public Task<(int Code, string Output, string Error)> TryAsync(params string[] arguments) => RunAsync(
        [
            "domain", .. arguments, "--monitor", $"qmp:{Monitor}", "--domain", "vm", "--state-dir",
            _folder.File("state"),
        ]);

    /// <summary>A verb that must succeed, and what it prints.</summary>
    public async Task<string> DoAsync(params string[] arguments)
    {
        var (code, output, error) = await TryAsync(arguments);
        Assert.True(code == 0, $"{string.Join(' ', arguments)}: {error}");
        return output;
    }

    /// <summary>A verb that must be refused, with that in its error.</summary>
    public async Task RefusedAsync(int code, string message, params string[] arguments)
    {
        var ended = await TryAsync(arguments);
        Assert.True(ended.Code == code, $"{string.Join(' ', arguments)}: {ended.Code}: {ended.Output}{ended.Error}");
        Assert.Contains(message, ended.Error, StringComparison.Ordinal);
    }

    /// <summary>Writes a file, and tells its path.</summary>
    public string Write(string name, string text)
    {
        System.IO.File.WriteAllText(_folder.File(name), text);
        return _folder.File(name);
    }

    public async ValueTask DisposeAsync()
    {
        await using (var monitor = await QmpConnection.ConnectAsync(QmpEndPoint.Unix(Monitor)))
        {
            try
            {
                await monitor.ExecuteAsync(new QmpCommand("quit"));
            }
            catch (QmpException)
            {
                // It may hang up before its reply was read.
            }
        }

        Assert.Equal(0, await _daemon);
        _folder.Dispose();
    }

    private static async Task<(int Code, string Output, string Error)> RunAsync(string[] arguments)
    {
        using var console = new TestConsole();
        var code = await console.RunAsync(arguments);
        return (code, console.Output, console.Error);
    }
}
