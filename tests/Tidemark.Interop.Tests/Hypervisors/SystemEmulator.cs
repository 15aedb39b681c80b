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
    public override async Task WriteAsync(int disk, long offset, byte[] data, CancellationToken token)
    {
        if (data.Length != GuestWrites.SlotLength || data.AsSpan().ContainsAnyExcept(data[0]))
        {
            throw new ArgumentException("this guest can only repeat one byte");
        }

        await OnDeviceAsync(disk, $"write -q -P {data[0]} {offset} {data.Length}", token);
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

    // A failure of such a command is said on the emulator's own output only; the checks of the test find it.
    private Task OnDeviceAsync(int disk, string command, CancellationToken token) => Monitor.ExecuteAsync(
        "human-monitor-command",
        new JsonObject
        {
            ["command-line"] = $"qemu-io -d /machine/peripheral/{DiskName(disk)}-device/virtio-backend \"{command}\"",
        },
        token);

    protected override void Ended()
    {
        File.Delete(MonitorPath);
        File.Delete(OwnMonitorPath);
    }
}
