using System.Diagnostics;
using System.Text.Json.Nodes;
using Tidemark.Interop.Tests.Guests;
using Tidemark.Interop.Tests.Programs;
using Tidemark.Testing;

namespace Tidemark.Interop.Tests.Hypervisors;

/// <summary>
/// A real machine emulator with virtio disks and no operating system: its guest's writes are made by the monitor, on
/// the guest's device, where those of a running guest come in.
/// </summary>
internal sealed class SystemEmulator(string folder, int diskCount, QemuVersion? version = null)
    : Hypervisor(folder, diskCount, version)
{
    // Some ten seconds.
    private const int WriteLooks = 500;

    public override async Task WriteAsync(int disk, long offset, byte[] data, CancellationToken token)
    {
        if (data.Length != GuestWrites.SlotLength || data.AsSpan().ContainsAnyExcept(data[0]))
        {
            throw new ArgumentException("this guest can only repeat one byte");
        }

        // As a guest's driver does: the request is handed over, and the emulator's loop goes on. A "write" would wait
        // within that loop, where QEMU 5.2 can wait for ever for a backup job that needs the loop to go on.
        var before = await CompletedWritesAsync(disk, token);
        await OnDeviceAsync(disk, $"aio_write -q -P {data[0]} {offset} {data.Length}", token);
        for (var attempt = 0; await CompletedWritesAsync(disk, token) == before; attempt++)
        {
            if (attempt == WriteLooks)
            {
                throw new TimeoutException($"the guest's write to {DiskName(disk)} at {offset} was not completed");
            }

            await Task.Delay(TimeSpan.FromMilliseconds(attempt < 20 ? 1 : 20), token);
        }
    }

    public override async Task FlushAsync(CancellationToken token)
    {
        for (var disk = 0; disk < DiskCount; disk++)
        {
            await OnDeviceAsync(disk, "flush", token);
        }
    }

    protected override Process StartProcess()
    {
        List<string> arguments = ["-machine", "q35,accel=tcg", "-S", "-nodefaults", "-display", "none", "-m", "64"];
        for (var disk = 0; disk < DiskCount; disk++)
        {
            var name = DiskName(disk);
            arguments.AddRange(
            [
                "-blockdev", $"{ProtocolOf(disk)},node-name={name}-file",
                "-blockdev", $"driver=qcow2,node-name={name},file={name}-file",
                "-device", $"virtio-blk-pci,drive={name},id={name}-device",
            ]);
        }

        arguments.AddRange(
        [
            "-qmp", $"unix:{MonitorPath},server=on,wait=off", "-qmp", $"unix:{OwnMonitorPath},server=on,wait=off",
        ]);
        return BackgroundProgram.Start(Program("qemu-system-x86_64"), arguments);
    }

    // A device's completed writes, as its own accounting has them.
    private async Task<long> CompletedWritesAsync(int disk, CancellationToken token)
    {
        var all = await Monitor.ExecuteAsync("query-blockstats", null, token);
        var own = all.EnumerateArray().First(one => one.TryGetProperty("qdev", out var device)
            && device.GetString()!.StartsWith(DeviceOf(disk), StringComparison.Ordinal)).GetProperty("stats");
        return own.GetProperty("failed_wr_operations").GetInt64() == 0
            ? own.GetProperty("wr_operations").GetInt64()
            : throw new IOException($"a write of the guest to {DiskName(disk)} failed");
    }

    private static string DeviceOf(int disk) => $"/machine/peripheral/{DiskName(disk)}-device";

    // A failure of such a command is said on the emulator's own output only; the checks of the test find it.
    private Task OnDeviceAsync(int disk, string command, CancellationToken token) => Monitor.ExecuteAsync(
        "human-monitor-command",
        new JsonObject
        {
            ["command-line"] = $"qemu-io -d {DeviceOf(disk)}/virtio-backend \"{command}\"",
        },
        token);

    protected override void Ended()
    {
        File.Delete(MonitorPath);
        File.Delete(OwnMonitorPath);
    }
}
