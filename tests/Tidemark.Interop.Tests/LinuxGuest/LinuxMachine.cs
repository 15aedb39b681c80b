using System.Diagnostics;
using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Interop.Tests.Programs;
using Tidemark.Testing;

namespace Tidemark.Interop.Tests.LinuxGuest;

/// <summary>
/// An emulated machine in which a real Linux runs, with one disk: an image of its own, or an NBD export of a storage
/// daemon, ours for example.
/// </summary>
/// <param name="folder">Its sockets and its image lie here.</param>
/// <param name="version">The QEMU to take; null: the installed one.</param>
/// <param name="nbdSocket">The server of its disk <c>vda</c>; null: the image.</param>
internal sealed class LinuxMachine(string folder, QemuVersion? version, string? nbdSocket = null)
    : Hypervisor(folder, diskCount: 1, version)
{
    /// <summary>What the guest says.</summary>
    public GuestConsole Console { get; } = new(Path.Combine(folder, "cache", "console"));

    public override Task WriteAsync(int disk, long offset, byte[] data, CancellationToken token) =>
        throw new NotSupportedException("this guest writes by itself");

    public override Task FlushAsync(CancellationToken token) => throw new NotSupportedException("it flushes by itself");

    protected override Process StartProcess()
    {
        var hidden = Path.Combine(Folder, "cache");
        Directory.CreateDirectory(hidden);
        var initramfs = Path.Combine(hidden, "initramfs");
        GuestKit.WriteInitramfs(initramfs);
        List<string> arguments =
        [
            "-machine", "q35,accel=tcg", "-cpu", "max", "-nodefaults", "-display", "none", "-m", "192",
            "-kernel", GuestKit.Kernel, "-initrd", initramfs,
            // Without the check of the timer: on a busy machine an emulated one comes late, and the kernel gives up.
            "-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on no_timer_check",
            "-serial", $"file:{Path.Combine(hidden, "console")}", "-no-reboot",
        ];
        arguments.AddRange(nbdSocket is null
            ?
            [
                "-blockdev", $"driver=file,node-name=vda-file,filename={DiskPath(0)}",
                "-blockdev", "driver=qcow2,node-name=vda,file=vda-file",
            ]
            : ["-blockdev", $"driver=nbd,node-name=vda,server.type=unix,server.path={nbdSocket},export=vda"]);
        arguments.AddRange(["-device", "virtio-blk-pci,drive=vda,id=vda-device"]);
        if (nbdSocket is null)
        {
            arguments.AddRange(["-qmp", $"unix:{MonitorPath},server=on,wait=off"]);
        }

        arguments.AddRange(["-qmp", $"unix:{OwnMonitorPath},server=on,wait=off"]);
        return BackgroundProgram.Start(Program("qemu-system-x86_64"), arguments);
    }

    protected override void Ended()
    {
        File.Delete(OwnMonitorPath);
        if (nbdSocket is null)
        {
            File.Delete(MonitorPath);
        }
    }
}
