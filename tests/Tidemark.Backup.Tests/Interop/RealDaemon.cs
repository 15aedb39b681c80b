using System.Diagnostics;
using System.Text.Json.Nodes;
using Tidemark.Backup.Running;
using Tidemark.Engine.Daemon;
using Tidemark.Qmp;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Interop;

/// <summary>
/// A storage daemon of the test's own, with qcow2 disks that a guest could write to over NBD: QEMU's, or the embedded
/// engine with the same options.
/// </summary>
internal sealed class RealDaemon : IAsyncDisposable
{
    private readonly bool _embedded;
    private readonly string _folder;
    private readonly string[] _disks;
    private readonly bool _nbd;
    private Process? _process;
    private Task<int>? _engine;
    private int _starts;

    internal RealDaemon(string folder, bool embedded, bool nbd, params string[] disks)
    {
        _embedded = embedded;
        _folder = folder;
        _disks = disks;
        _nbd = nbd;
    }

    /// <summary>QEMU's storage daemon.</summary>
    internal string Program { get; init; } = "qemu-storage-daemon";

    /// <summary>Where a disk's topmost image is, if it is not where it was at first.</summary>
    internal Dictionary<string, string> Tops { get; } = [];

    /// <summary>The layers of a disk below its topmost image that are opened by name, the lowest first: the files.
    /// Without any, the images' headers say what lies below.</summary>
    internal Dictionary<string, string[]> NamedLayers { get; } = [];

    /// <summary>Disks whose images lie behind an NBD server: its socket.</summary>
    internal Dictionary<string, string> FarSockets { get; } = [];

    /// <summary>Whether its process has ended by itself.</summary>
    internal bool HasDied => _process is { HasExited: true };

    /// <summary>Where the product's monitor is; another one at each start.</summary>
    internal string MonitorPath => Path.Combine(_folder, $"qmp{_starts}.sock");

    internal string NbdPath => Path.Combine(_folder, "guest.sock");

    internal HypervisorSource Source => new("qmp:test", async token =>
        await QmpConnection.ConnectAsync(QmpEndPoint.Unix(MonitorPath), TimeSpan.FromSeconds(10), null, token));

    internal string DiskPath(string disk) => Path.Combine(_folder, disk + ".qcow2");

    internal async Task CreateDisksAsync(string size)
    {
        foreach (var disk in _disks)
        {
            await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", DiskPath(disk), size);
        }
    }

    internal async Task StartAsync()
    {
        _starts++;
        List<string> arguments =
        [
            "--chardev", $"socket,id=m,path={MonitorPath},server=on,wait=off", "--monitor", "chardev=m",
            "--chardev", $"socket,id=o,path={MonitorPath}.own,server=on,wait=off", "--monitor", "chardev=o",
        ];
        if (_nbd)
        {
            arguments.AddRange(["--nbd-server", $"addr.type=unix,addr.path={NbdPath}"]);
        }

        foreach (var disk in _disks)
        {
            var top = Tops.GetValueOrDefault(disk, DiskPath(disk));
            arguments.AddRange(
            [
                "--blockdev",
                (FarSockets.TryGetValue(disk, out var far)
                    ? $"driver=nbd,server.type=unix,server.path={far}"
                    : $"driver=file,filename={top}") + $",node-name={disk}-file",
            ]);
            var below = "";
            foreach (var (index, layer) in NamedLayers.GetValueOrDefault(disk, []).Index())
            {
                arguments.AddRange(
                [
                    "--blockdev",
                    $"driver=qcow2,node-name={disk}-{index},read-only=on,file.driver=file,file.filename={layer}{below}",
                ]);
                below = $",backing={disk}-{index}";
            }

            arguments.AddRange(
                ["--blockdev", $"driver=qcow2,file={disk}-file,node-name={disk},discard=unmap{below}"]);
            if (_nbd)
            {
                arguments.AddRange(["--export", $"type=nbd,id=guest-{disk},node-name={disk},name={disk},writable=on"]);
            }
        }

        if (_embedded)
        {
            _engine = StorageDaemon.RunAsync(arguments, TextWriter.Null, Console.Error);
        }
        else
        {
            _process = Process.Start(Program, arguments);
        }

        await using var probe = await OwnMonitorAsync();
    }

    /// <summary>The test's own monitor.</summary>
    internal async Task<QmpConnection> OwnMonitorAsync()
    {
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                return await QmpConnection.ConnectAsync(QmpEndPoint.Unix(MonitorPath + ".own"),
                    TimeSpan.FromSeconds(10));
            }
            catch (QmpException) when (attempt < 200)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(20));
            }
        }
    }

    internal async Task ExecuteAsync(string command, JsonObject? arguments = null)
    {
        await using var monitor = await OwnMonitorAsync();
        await monitor.ExecuteAsync(new QmpCommand(command, arguments));
    }

    internal Task WriteAsync(string disk, string command) => Tool.RunOkAsync(
        "qemu-io", "-f", "raw", "-c", command, $"nbd+unix:///{disk}?socket={NbdPath}");

    internal async Task QuitAsync()
    {
        await using (var monitor = await OwnMonitorAsync())
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

        if (_engine is not null)
        {
            Assert.Equal(0, await _engine);
            _engine = null;
            return;
        }

        await _process!.WaitForExitAsync();
        _process.Dispose();
        _process = null;
    }

    internal void KillNow() => _process!.Kill();

    internal async Task KillAsync()
    {
        _process!.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
        _process = null;
    }

    /// <summary>Every node, export, job and bitmap that is neither the daemon's own nor a checkpoint.</summary>
    internal async Task<List<string>> LeftoversAsync()
    {
        var bitmaps = await BitmapsAsync();
        await using var monitor = await OwnMonitorAsync();
        List<string> left = [];
        var nodes = await monitor.ExecuteAsync(new QmpCommand("query-named-block-nodes", new JsonObject { ["flat"] =
            true }));
        foreach (var node in nodes.EnumerateArray())
        {
            var name = node.GetProperty("node-name").GetString()!;
            if (!_disks.Any(disk => name == disk || name == $"{disk}-file"))
            {
                left.Add($"node {name}");
            }
        }

        left.AddRange(bitmaps.Where(bitmap => !bitmap.Persistent || bitmap.Busy)
            .Select(bitmap => $"bitmap {bitmap.Name}"));
        var exports = await monitor.ExecuteAsync(new QmpCommand("query-block-exports"));
        left.AddRange(exports.EnumerateArray().Select(export => export.GetProperty("id").GetString()!)
            .Where(id => !id.StartsWith("guest-", StringComparison.Ordinal)).Select(id => $"export {id}"));
        var jobs = await monitor.ExecuteAsync(new QmpCommand("query-jobs"));
        left.AddRange(jobs.EnumerateArray().Select(job => $"job {job.GetProperty("id").GetString()}"));
        left.AddRange(Directory.EnumerateFiles(_folder, "tidemark-*").Select(file => $"file {file}"));
        return left;
    }

    internal async Task<List<(string Disk, string Name, bool Persistent, bool Busy, bool Inconsistent)>> BitmapsAsync()
    {
        await using var monitor = await OwnMonitorAsync();
        var nodes = await monitor.ExecuteAsync(new QmpCommand("query-named-block-nodes", new JsonObject { ["flat"] =
            true }));
        return
        [
            .. from node in nodes.EnumerateArray()
               where node.TryGetProperty("dirty-bitmaps", out _)
               from bitmap in node.GetProperty("dirty-bitmaps").EnumerateArray()
               where bitmap.TryGetProperty("name", out _)
               select (
                   node.GetProperty("node-name").GetString()!,
                   bitmap.GetProperty("name").GetString()!,
                   bitmap.GetProperty("persistent").GetBoolean(),
                   bitmap.GetProperty("busy").GetBoolean(),
                   bitmap.TryGetProperty("inconsistent", out var value) && value.GetBoolean()),
        ];
    }

    public async ValueTask DisposeAsync()
    {
        if (_process is not null)
        {
            await KillAsync();
        }
        else if (_engine is not null)
        {
            await QuitAsync();
        }
    }
}
