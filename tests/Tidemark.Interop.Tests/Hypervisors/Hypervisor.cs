using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;

using Tidemark.Testing;

namespace Tidemark.Interop.Tests.Hypervisors;

/// <summary>
/// A hypervisor in a process of its own, with the disks <c>vda</c>, <c>vdb</c>, …, and the tests' own view of it.
/// </summary>
/// <param name="folder">Its sockets and images lie here.</param>
/// <param name="diskCount">How many disks it has.</param>
/// <param name="version">The QEMU to take; null: the one that is installed, or none of QEMU's.</param>
internal abstract class Hypervisor(string folder, int diskCount, QemuVersion? version) : IAsyncDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    private readonly Dictionary<int, string> _diskPaths = [];
    private readonly Dictionary<int, string> _diskSockets = [];

    private Process? _process;
    private TestMonitor? _monitor;
    private string[] _nodesAtStart = [];
    private string[] _exportsAtStart = [];

    public int DiskCount => diskCount;

    /// <summary>The monitor that the program is given.</summary>
    public string MonitorPath => Path.Combine(folder, "qmp.sock");

    /// <summary>What the program is to be told of the NBD server that runs here: nothing, if none does.</summary>
    public virtual string[] NbdOptions => [];

    public IEnumerable<string> DiskNames => Enumerable.Range(0, diskCount).Select(DiskName);

    protected string Folder => folder;

    protected string OwnMonitorPath => Path.Combine(folder, "own.sock");

    protected QemuVersion? Version => version;

    protected TestMonitor Monitor => _monitor ?? throw new InvalidOperationException("not started");

    public static string DiskName(int disk) => $"vd{(char)('a' + disk)}";

    /// <summary>The image that a disk is opened with when this starts.</summary>
    public string DiskPath(int disk) =>
        _diskPaths.GetValueOrDefault(disk, Path.Combine(folder, $"{DiskName(disk)}.qcow2"));

    /// <summary>From the next start on the disk is another image, with what lies below it.</summary>
    public void SetDiskPath(int disk, string path) => _diskPaths[disk] = path;

    /// <summary>From the next start on the disk's image is not a file here, but what an NBD server shows.</summary>
    public void SetDiskSocket(int disk, string socket) => _diskSockets[disk] = socket;

    /// <summary>A command of the test's own.</summary>
    public Task<JsonElement> ExecuteAsync(string name, JsonObject? arguments, CancellationToken token) =>
        Monitor.ExecuteAsync(name, arguments, token);

    /// <summary>Starts it and waits until it answers.</summary>
    public async Task StartAsync(CancellationToken token)
    {
        _process = StartProcess();
        _monitor = await TestMonitor.ConnectAsync(OwnMonitorPath, token);
        _nodesAtStart = await NodesAsync(token);
        _exportsAtStart = await ExportsAsync(token);
        await StartedAsync(token);
    }

    /// <summary>Ends it as an administrator would; it closes its images.</summary>
    public async Task StopAsync(CancellationToken token)
    {
        await CloseDisksAsync(token);
        try
        {
            await Monitor.ExecuteAsync("quit", null, token);
        }
        catch (Exception exception) when (exception is IOException)
        {
            // It may hang up before its reply was read.
        }

        await EndedAsync();
    }

    /// <summary>Kills it, as a power cut or the OOM killer would.</summary>
    public async Task KillAsync()
    {
        _process!.Kill();
        await EndedAsync();
    }

    /// <summary>Writes as the guest does; completed when the hypervisor has completed it.</summary>
    public abstract Task WriteAsync(int disk, long offset, byte[] data, CancellationToken token);

    /// <summary>Flushes as the guest does: what was written before outlives a kill.</summary>
    public abstract Task FlushAsync(CancellationToken token);

    /// <summary>
    /// Whatever is here now and was not when it started, in words; empty if a run has left nothing behind.
    /// </summary>
    /// <remarks>A checkpoint's bitmap may stay: recording, persistent, idle, one of a name per disk; or inconsistent,
    /// if the hypervisor was killed.</remarks>
    public async Task<List<string>> LeftoversAsync(CancellationToken token)
    {
        var found = new List<string>();
        found.AddRange((await NodesAsync(token)).Except(_nodesAtStart).Select(node => $"node {node}"));
        found.AddRange((await ExportsAsync(token)).Except(_exportsAtStart).Select(export => $"export {export}"));
        var jobs = await Monitor.ExecuteAsync("query-jobs", null, token);
        found.AddRange(jobs.EnumerateArray().Select(job => $"job {job.GetProperty("id").GetString()}"));
        found.AddRange((await BitmapsAsync(token))
            .Where(bitmap => !bitmap.Persistent || bitmap.Busy || !(bitmap.Recording || bitmap.Inconsistent))
            .Select(bitmap => $"bitmap {bitmap.Name} of {bitmap.Node}"));
        string[] sockets = ["qmp.sock", "own.sock", "nbd.sock", "proxy.sock"];
        string[] folders = ["repo", "state", "cache", "images"];
        string[] expected = [.. sockets, .. folders, .. DiskNames.Select(name => $"{name}.qcow2")];
        found.AddRange(Directory.EnumerateFileSystemEntries(folder).Select(path => Path.GetFileName(path))
            .Except(expected).Select(name => $"file {name}"));
        return found;
    }

    /// <summary>Every bitmap of every disk.</summary>
    public async Task<List<BitmapState>> BitmapsAsync(CancellationToken token)
    {
        var nodes = await Monitor.ExecuteAsync("query-named-block-nodes", Flat(), token);
        return
        [
            .. from node in nodes.EnumerateArray()
               where node.TryGetProperty("dirty-bitmaps", out _)
               from bitmap in node.GetProperty("dirty-bitmaps").EnumerateArray()
               select new BitmapState(
                   node.GetProperty("node-name").GetString()!,
                   bitmap.TryGetProperty("name", out var name) ? name.GetString()! : "",
                   bitmap.GetProperty("persistent").GetBoolean(),
                   bitmap.GetProperty("busy").GetBoolean(),
                   bitmap.GetProperty("recording").GetBoolean(),
                   bitmap.TryGetProperty("inconsistent", out var inconsistent) && inconsistent.GetBoolean()),
        ];
    }

    public async ValueTask DisposeAsync()
    {
        _monitor?.Dispose();
        if (_process is { HasExited: false })
        {
            _process.Kill();
        }

        await EndedAsync();
        GC.SuppressFinalize(this);
    }

    protected abstract Process StartProcess();

    protected virtual Task StartedAsync(CancellationToken token) => Task.CompletedTask;

    /// <summary>What closes the disks before it is told to quit; nothing, where quitting does.</summary>
    protected virtual Task CloseDisksAsync(CancellationToken token) => Task.CompletedTask;

    /// <summary>Whether it still runs, or how it ended, for messages.</summary>
    public string Fate => _process switch
    {
        null => "the hypervisor was not started",
        { HasExited: true } ended => $"the hypervisor ended with {ended.ExitCode}",
        _ => "the hypervisor runs",
    };

    /// <summary>The options of a disk's protocol node, without its name.</summary>
    protected string ProtocolOf(int disk) => _diskSockets.TryGetValue(disk, out var socket)
        ? $"driver=nbd,server.type=unix,server.path={socket}"
        : $"driver=file,filename={DiskPath(disk)}";

    protected string Program(string name) => version?.Program(name) ?? name;

    protected virtual void Ended()
    {
    }

    private static JsonObject Flat() => new() { ["flat"] = true };

    private async Task<string[]> NodesAsync(CancellationToken token) =>
        Names(await Monitor.ExecuteAsync("query-named-block-nodes", Flat(), token), "node-name");

    private async Task<string[]> ExportsAsync(CancellationToken token) =>
        Names(await Monitor.ExecuteAsync("query-block-exports", null, token), "id");

    private static string[] Names(JsonElement list, string key) =>
        [.. list.EnumerateArray().Select(item => item.GetProperty(key).GetString()!)];

    private async Task EndedAsync()
    {
        if (_process is null)
        {
            return;
        }

        using var limit = new CancellationTokenSource(s_patience);
        await _process.WaitForExitAsync(limit.Token);
        Ended();
        _monitor?.Dispose();
        _process.Dispose();
        _process = null;
        _monitor = null;
    }
}
