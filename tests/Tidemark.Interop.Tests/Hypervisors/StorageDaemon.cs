using System.Diagnostics;
using System.Text.Json.Nodes;
using Tidemark.Interop.Tests.Guests;
using Tidemark.Interop.Tests.Programs;
using Tidemark.Testing;

namespace Tidemark.Interop.Tests.Hypervisors;

/// <summary>
/// A storage daemon, QEMU's or ours, by the same options; its guest writes through an NBD export of each disk.
/// </summary>
internal sealed class StorageDaemon(
    string folder, int diskCount, bool embedded, TidemarkProgram tidemark, QemuVersion? version = null,
    bool guestConnects = true)
    : Hypervisor(folder, diskCount, version)
{
    private readonly List<GuestDisk> _guest = [];

    public override string[] NbdOptions => ["--nbd", $"nbd+unix:///?socket={NbdPath}"];

    public string NbdPath => Path.Combine(Folder, "nbd.sock");

    public override Task WriteAsync(int disk, long offset, byte[] data, CancellationToken token) =>
        _guest[disk].WriteAsync(offset, data, token);

    public override async Task FlushAsync(CancellationToken token)
    {
        foreach (var disk in _guest)
        {
            await disk.FlushAsync(token);
        }
    }

    protected override Process StartProcess()
    {
        var arguments = new List<string>();
        for (var disk = 0; disk < DiskCount; disk++)
        {
            var name = DiskName(disk);
            arguments.AddRange(
            [
                "--blockdev", $"{ProtocolOf(disk)},node-name={name}-file",
                "--blockdev", $"driver=qcow2,node-name={name},file={name}-file",
            ]);
        }

        arguments.AddRange(
        [
            "--chardev", $"socket,id=program,path={MonitorPath},server=on,wait=off", "--monitor", "chardev=program",
            "--chardev", $"socket,id=own,path={OwnMonitorPath},server=on,wait=off", "--monitor", "chardev=own",
            "--nbd-server", $"addr.type=unix,addr.path={NbdPath}",
        ]);
        foreach (var name in DiskNames)
        {
            arguments.AddRange(["--export", $"type=nbd,id=guest-{name},node-name={name},name={name},writable=on"]);
        }

        return embedded
            ? tidemark.Start(["storage-daemon", .. arguments])
            : BackgroundProgram.Start(Program("qemu-storage-daemon"), arguments);
    }

    // QEMU's storage daemon up to 5.2 does not close its nodes at "quit", and so loses their persistent bitmaps.
    protected override async Task CloseDisksAsync(CancellationToken token)
    {
        if (embedded || Version is null || Version.Version >= new Version(6, 0))
        {
            return;
        }

        foreach (var name in DiskNames)
        {
            await Monitor.ExecuteAsync(
                "block-export-del", new JsonObject { ["id"] = $"guest-{name}", ["mode"] = "hard" }, token);
        }

        foreach (var name in DiskNames)
        {
            await DeleteNodeAsync(name, token);
        }
    }

    protected override async Task StartedAsync(CancellationToken token)
    {
        foreach (var name in guestConnects ? DiskNames : [])
        {
            _guest.Add(await GuestDisk.ConnectAsync(NbdPath, name, token));
        }
    }

    // The export that was deleted holds the node for a moment longer.
    private async Task DeleteNodeAsync(string name, CancellationToken token)
    {
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                await Monitor.ExecuteAsync("blockdev-del", new JsonObject { ["node-name"] = name }, token);
                return;
            }
            catch (InvalidOperationException) when (attempt < 100)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(20), token);
            }
        }
    }

    protected override void Ended()
    {
        _guest.ForEach(disk => disk.Dispose());
        _guest.Clear();
        // A killed daemon leaves its sockets, of which the next one would say that they are in use.
        File.Delete(MonitorPath);
        File.Delete(OwnMonitorPath);
        File.Delete(NbdPath);
    }
}
