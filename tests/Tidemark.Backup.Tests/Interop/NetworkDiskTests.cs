using System.Diagnostics;
using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Tests.Interop;

/// <summary>A disk whose image lies behind a server, which the hypervisor opens over the network: it is backed up as
/// any other, its bitmaps are kept in it, and the scratch is a local file.</summary>
[Trait("Category", "Interop")]
public sealed class NetworkDiskTests
{
    private const int Size = 16 << 20;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_disk_behind_a_server_is_backed_up_as_any_other(bool embedded)
    {
        RealDaemonTests.Skip();
        await using var scene = new BackupScene();
        await scene.InitializeAsync();
        await using var daemon = new RealDaemon(scene.Folder, embedded, nbd: true, "vda");
        await daemon.CreateDisksAsync("16M");
        using var far = await ServeAsync(daemon.DiskPath("vda"), Path.Combine(scene.Folder, "far.sock"));
        try
        {
            daemon.FarSockets["vda"] = Path.Combine(scene.Folder, "far.sock");
            await daemon.StartAsync();
            var expected = new Dictionary<string, byte[]> { ["vda"] = new byte[Size] };
            var nbd = $"nbd+unix:///?socket={daemon.NbdPath}";
            var kinds = new List<DiskKind>();
            foreach (var (mode, fill) in new[] { (BackupMode.Pull, 1), (BackupMode.Push, 2), (BackupMode.Pull, 3) })
            {
                await RealDaemonTests.WriteAsync(daemon, expected, "vda", (byte)fill, fill << 20, 64 << 10);
                var report = await scene.BackupAsync(daemon.Source, mode, nbd);
                kinds.Add(report.Disks[0].Kind);
                await RealDaemonTests.CheckAsync(scene, report.SnapshotId, expected);
                Assert.Empty(await daemon.LeftoversAsync());

                // The bitmap lies in the image, and the image behind the server.
                await daemon.QuitAsync();
                await daemon.StartAsync();
            }

            Assert.Equal([DiskKind.Full, DiskKind.Incremental, DiskKind.Incremental], kinds);
        }
        finally
        {
            // First who has the disk open.
            await daemon.DisposeAsync();
            far.Kill();
            await far.WaitForExitAsync(CancellationToken.None);
        }
    }

    // A raw export does not grow, so the image gets its room beforehand.
    private static async Task<Process> ServeAsync(string image, string socket)
    {
        await using (var file = File.OpenWrite(image))
        {
            file.SetLength(2 * Size);
        }

        var server = Process.Start("qemu-nbd", ["--persistent", "-f", "raw", "-k", socket, image]);
        while (!File.Exists(socket))
        {
            Assert.False(server.HasExited);
            await Task.Delay(TimeSpan.FromMilliseconds(10), TestContext.Current.CancellationToken);
        }

        return server;
    }
}
