using System.Text.Json;

namespace Tidemark.Bench.Contests;

/// <summary>
/// The whole product beside its peers: a disk of a real QEMU storage daemon into a repository, whole and incremental,
/// and back. restic reads the same bytes from a raw file, since it knows no dirty bitmaps.
/// </summary>
internal static class RepositoryContests
{
    public static async Task RunAsync(Bench bench)
    {
        if (!bench.Wants("pull incremental backup restore"))
        {
            return;
        }

        var folder = Path.Combine(bench.Folder, "c");
        Directory.CreateDirectory(folder);
        var image = Path.Combine(folder, "vda.qcow2");
        File.Copy(bench.Disk.Qcow2, image);
        var file = Path.Combine(folder, "vda.raw");
        await Programs.RunAsync("cp", "--sparse=always", bench.Disk.Raw, file);
        await using var daemon = await Daemon.StartAsync(ours: false, folder, image, "qcow2");
        await PullAsync(bench, daemon, file);

        var (oursRepo, resticRepo) = (Path.Combine(folder, "ours"), Path.Combine(folder, "restic"));
        await InitialiseAsync(oursRepo);
        await InitialiseAsync(resticRepo, restic: true);
        await BackupAsync(daemon, oursRepo);
        await ResticAsync(resticRepo, "backup", file);
        await IncrementalAsync(bench, daemon, file, oursRepo, resticRepo);
        await RestoreAsync(bench, folder, oursRepo, resticRepo);
    }

    private static async Task PullAsync(Bench bench, Daemon daemon, string file)
    {
        var contest = new Contest("full pull of a running disk", "s", bench.Disk.DataLength);
        var repo = Path.Combine(daemon.Folder, "full");
        var raw = Path.Combine(daemon.Folder, "copy.raw");
        var uri = $"nbd+unix:///vda?socket={daemon.NbdPath}";
        contest.Add("tidemark backup (pull)", () => BackupAsync(daemon, repo, "--full"), () => InitialiseAsync(repo),
            daemon.Id);
        contest.Add("tidemark backup (push)", () => BackupAsync(daemon, repo, "--full", "--mode", "push"),
            () => InitialiseAsync(repo), daemon.Id);
        contest.Add("nbdcopy to a raw file", () => Programs.RunAsync("nbdcopy", uri, raw), () =>
        {
            File.Delete(raw);
            return Task.CompletedTask;
        }, daemon.Id);
        contest.Add("restic backup of the raw file", () => ResticAsync(repo, "backup", file),
            () => InitialiseAsync(repo, restic: true));
        contest.Add("nbdcopy to restic backup --stdin", () => Programs.RunAsync("sh", "-c",
            $"nbdcopy '{uri}' - | restic -q -r '{repo}' backup --stdin --stdin-filename vda.raw"),
            () => InitialiseAsync(repo, restic: true), daemon.Id);
        await bench.RunAsync(contest);
        Directory.Delete(repo, recursive: true);
        File.Delete(raw);
    }

    private static async Task IncrementalAsync(
        Bench bench, Daemon daemon, string file, string oursRepo, string resticRepo)
    {
        foreach (var share in new[] { 0.01, 0.1 })
        {
            var seed = (int)(share * 1000);
            var contest = new Contest(
                $"incremental backup, {share:0%} dirty", "s", (long)(bench.Disk.DataLength * share));
            foreach (var mode in new[] { "pull", "push" })
            {
                contest.Add($"tidemark backup ({mode})", async () =>
                {
                    var kind = await BackupAsync(daemon, oursRepo, "--mode", mode);
                    if (kind != "incremental")
                    {
                        throw new InvalidOperationException($"the backup was {kind}, not incremental");
                    }
                }, () => bench.Disk.DirtyAsync(share, ++seed, [daemon.NbdPath]), daemon.Id);
            }

            contest.Add("restic backup of the raw file", () => ResticAsync(resticRepo, "backup", file),
                () => bench.Disk.DirtyAsync(share, ++seed, [], file));
            await bench.RunAsync(contest);
        }
    }

    private static async Task RestoreAsync(Bench bench, string folder, string oursRepo, string resticRepo)
    {
        var contest = new Contest("restore to a raw file", "s", bench.Disk.DataLength);
        var target = Path.Combine(folder, "restored");
        Task Fresh()
        {
            if (Directory.Exists(target))
            {
                Directory.Delete(target, recursive: true);
            }

            Directory.CreateDirectory(target);
            return Task.CompletedTask;
        }

        contest.Add("tidemark restore", () => Programs.RunAsync(Programs.Tidemark, "restore", "latest:vda",
            "--repo", oursRepo, "--to", Path.Combine(target, "vda.raw")), Fresh);
        contest.Add("restic restore, its own repository",
            () => ResticAsync(resticRepo, "restore", "latest", "--target", target), Fresh);
        contest.Add("restic restore, our repository",
            () => ResticAsync(oursRepo, "restore", "latest", "--target", target), Fresh);
        await bench.RunAsync(contest);
    }

    private static async Task InitialiseAsync(string repo, bool restic = false)
    {
        if (Directory.Exists(repo))
        {
            Directory.Delete(repo, recursive: true);
        }

        if (restic)
        {
            await ResticAsync(repo, "init", "--repository-version", "2");
        }
        else
        {
            await Programs.RunAsync(Programs.Tidemark, "init", "--repo", repo);
        }
    }

    private static async Task<string> BackupAsync(Daemon daemon, string repo, params string[] options)
    {
        var output = await Programs.RunAsync(Programs.Tidemark,
        [
            "backup", $"qmp:{daemon.MonitorPath}", "--repo", repo, "--name", "vm", "--json",
            "--nbd", $"nbd+unix:///?socket={daemon.NbdPath}", .. options,
        ]);
        using var report = JsonDocument.Parse(output);
        return report.RootElement.GetProperty("disks")[0].GetProperty("kind").GetString()!;
    }

    private static Task<string> ResticAsync(string repo, params string[] arguments) =>
        Programs.RunAsync("restic", ["-q", "-r", repo, .. arguments]);
}
