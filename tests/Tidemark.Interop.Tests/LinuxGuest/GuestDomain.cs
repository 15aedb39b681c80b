using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Interop.Tests.Programs;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Interop.Tests.LinuxGuest;

/// <summary>Backs up a Linux guest's disk by the verbs of <c>tidemark domain</c>.</summary>
/// <param name="tidemark">The program.</param>
/// <param name="hypervisor">Whose disk <c>vda</c> it is.</param>
/// <param name="folder">Images and definitions lie here.</param>
internal sealed class GuestDomain(TidemarkProgram tidemark, Hypervisor hypervisor, string folder)
{
    private string _last = "";

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>A push, followed to its end; an increment is put over the push before.</summary>
    public async Task<(string Kind, string Image)> PushAsync(string monitor, string checkpoint, string? since)
    {
        var image = Path.Combine(folder, $"{checkpoint}.qcow2");
        await BeginAsync(
            monitor,
            checkpoint,
            $"<domainbackup>{Incremental(since)}<disks><disk name='vda' type='file'><target file='{image}'/></disk>"
                + "</disks></domainbackup>",
            "--wait");
        if (since is not null)
        {
            await Tool.RunOkAsync("qemu-img", "rebase", "-u", "-F", "qcow2", "-b", _last, image);
        }

        _last = image;
        return (since is null ? "full" : "incremental", image);
    }

    /// <summary>A pull, whose frozen view is copied while the guest writes on, and then ended.</summary>
    public async Task<(string Kind, string Image)> PullAsync(string monitor, string checkpoint, string since)
    {
        var (image, scratch) = (Path.Combine(folder, $"{checkpoint}.qcow2"), Path.Combine(folder, "scratch"));
        var socket = hypervisor is StorageDaemon daemon ? daemon.NbdPath : Path.Combine(folder, "view.sock");
        await BeginAsync(
            monitor,
            checkpoint,
            $"<domainbackup mode='pull'>{Incremental(since)}<server transport='unix' socket='{socket}'/><disks>"
                + $"<disk name='vda' type='file' exportname='view'><scratch file='{scratch}'/></disk></disks>"
                + "</domainbackup>",
            hypervisor is StorageDaemon ? ["--nbd-running"] : []);
        await Tool.RunOkAsync(
            "qemu-img", "convert", "-f", "raw", "-O", "qcow2", $"nbd+unix:///view?socket={socket}", image);
        await tidemark.RunOkAsync("domain", "domjobabort", "--monitor", $"qmp:{monitor}", "--domain", "guest");
        return ("incremental", image);
    }

    private static string Incremental(string? since) => since is null ? "" : $"<incremental>{since}</incremental>";

    private async Task BeginAsync(string monitor, string checkpoint, string backup, params string[] options)
    {
        var xml = Path.Combine(folder, $"{checkpoint}.xml");
        await File.WriteAllTextAsync(xml, backup, Token);
        await File.WriteAllTextAsync(
            xml + "c", $"<domaincheckpoint><name>{checkpoint}</name></domaincheckpoint>", Token);
        await tidemark.RunOkAsync(
            ["domain", "backup-begin", xml, xml + "c", .. options, "--monitor", $"qmp:{monitor}", "--domain", "guest"]);
    }
}
