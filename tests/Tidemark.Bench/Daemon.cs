using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Qmp;

namespace Tidemark.Bench;

/// <summary>A storage daemon, ours or QEMU's, with one disk that is also exported to a guest.</summary>
internal sealed class Daemon : IAsyncDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    private readonly Process _process;
    private int _targets;

    private Daemon(Process process, string name, string folder)
    {
        _process = process;
        Name = name;
        Folder = folder;
    }

    public string Name { get; }

    public string Folder { get; }

    public int Id => _process.Id;

    /// <summary>The monitor for the program under test; the bench has its own.</summary>
    public string MonitorPath => Path.Combine(Folder, "qmp");

    public string NbdPath => Path.Combine(Folder, "nbd");

    public IMonitor Monitor { get; private set; } = null!;

    /// <param name="ours">Which daemon.</param>
    /// <param name="folder">For its sockets and targets.</param>
    /// <param name="image">The disk: node and export <c>vda</c>.</param>
    /// <param name="format">The disk's format.</param>
    public static async Task<Daemon> StartAsync(bool ours, string folder, string image, string format)
    {
        Directory.CreateDirectory(folder);
        string[] arguments =
        [
            "--blockdev", $"driver=file,node-name=vda-file,filename={image}",
            "--blockdev", $"driver={format},node-name=vda,file=vda-file",
            "--chardev", $"socket,id=a,path={folder}/qmp,server=on,wait=off", "--monitor", "chardev=a",
            "--chardev", $"socket,id=b,path={folder}/own,server=on,wait=off", "--monitor", "chardev=b",
            "--nbd-server", $"addr.type=unix,addr.path={folder}/nbd",
            "--export", "type=nbd,id=guest,node-name=vda,name=vda,writable=on",
        ];
        var process = ours
            ? Programs.Start(Programs.Tidemark, ["storage-daemon", .. arguments])
            : Programs.Start("qemu-storage-daemon", arguments);
        var daemon = new Daemon(process, ours ? "tidemark" : "QEMU", folder);
        var end = Stopwatch.StartNew();
        while (true)
        {
            try
            {
                daemon.Monitor = await QmpConnection.ConnectAsync(QmpEndPoint.Unix($"{folder}/own"));
                return daemon;
            }
            catch (QmpException) when (end.Elapsed < s_patience && !process.HasExited)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(50));
            }
            catch (QmpException exception)
            {
                process.Kill();
                var said = await process.StandardError.ReadToEndAsync();
                throw new InvalidOperationException($"the daemon of {daemon.Name} does not start: {said}", exception);
            }
        }
    }

    public Task<JsonElement> ExecuteAsync(string command, JsonObject? arguments = null) =>
        Monitor.ExecuteAsync(new QmpCommand(command, arguments));

    /// <summary>Makes a new target image and opens it as node <c>target</c>, in place of the last one.</summary>
    public async Task NewTargetAsync(string format, long length)
    {
        if (_targets++ > 0)
        {
            await ExecuteAsync("blockdev-del", new JsonObject { ["node-name"] = "target" });
            await ExecuteAsync("blockdev-del", new JsonObject { ["node-name"] = "target-file" });
        }

        var path = Path.Combine(Folder, "target");
        File.Delete(path);
        await Programs.RunAsync("qemu-img", "create", "-q", "-f", format, path, $"{length}");
        await ExecuteAsync("blockdev-add", new JsonObject
        {
            ["driver"] = "file", ["node-name"] = "target-file", ["filename"] = path,
        });
        await ExecuteAsync("blockdev-add", new JsonObject
        {
            ["driver"] = format, ["node-name"] = "target", ["file"] = "target-file",
        });
    }

    /// <summary>Runs a backup job of the disk to the target, from its start to its end.</summary>
    public async Task BackupJobAsync(string sync, string? bitmap = null)
    {
        using var events = Monitor.Subscribe();
        var arguments = new JsonObject
        {
            ["job-id"] = "job", ["device"] = "vda", ["target"] = "target", ["sync"] = sync, ["auto-dismiss"] = false,
        };
        if (bitmap is not null)
        {
            arguments["bitmap"] = bitmap;
        }

        await ExecuteAsync("blockdev-backup", arguments);
        await foreach (var happened in events.Events.ReadAllAsync())
        {
            if (happened.Name == "JOB_STATUS_CHANGE" && happened.Data.GetProperty("status").GetString() == "concluded")
            {
                break;
            }
        }

        var job = (await ExecuteAsync("query-jobs")).EnumerateArray().Single();
        if (job.TryGetProperty("error", out var error))
        {
            throw new InvalidOperationException($"{Name}: {error.GetString()}");
        }

        await ExecuteAsync("job-dismiss", new JsonObject { ["id"] = "job" });
    }

    public async ValueTask DisposeAsync()
    {
        await Monitor.DisposeAsync();
        _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
    }
}
