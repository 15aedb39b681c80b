using System.Text.Json.Nodes;

namespace Tidemark.Bench.Contests;

/// <summary>The backup job itself, in our storage daemon and in
/// QEMU's: the whole disk, and the dirty clusters only.</summary>
internal static class PushContests
{
    public static async Task RunAsync(Bench bench)
    {
        if (!bench.Wants("push"))
        {
            return;
        }

        await using var ours = await StartAsync(bench, ours: true);
        await using var theirs = await StartAsync(bench, ours: false);
        Daemon[] both = [ours, theirs];
        foreach (var format in new[] { "qcow2", "raw" })
        {
            var contest = new Contest($"full push, qcow2 to {format}", "s", bench.Disk.DataLength);
            foreach (var daemon in both)
            {
                contest.Add($"{daemon.Name} job", () => daemon.BackupJobAsync("full"),
                    () => daemon.NewTargetAsync(format, bench.Disk.Length), daemon.Id);
            }

            await bench.RunAsync(contest);
        }

        foreach (var daemon in both)
        {
            await daemon.ExecuteAsync("block-dirty-bitmap-add", new JsonObject { ["node"] = "vda", ["name"] = "mark" });
        }

        foreach (var share in new[] { 0.01, 0.1 })
        {
            var seed = 1;
            var contest = new Contest(
                $"incremental push, {share:0%} dirty, to qcow2", "s", (long)(bench.Disk.DataLength * share));
            foreach (var daemon in both)
            {
                contest.Add($"{daemon.Name} job", () => daemon.BackupJobAsync("incremental", "mark"), async () =>
                {
                    await daemon.NewTargetAsync("qcow2", bench.Disk.Length);
                    await bench.Disk.DirtyAsync(share, ++seed, [daemon.NbdPath]);
                }, daemon.Id);
            }

            await bench.RunAsync(contest);
        }
    }

    private static async Task<Daemon> StartAsync(Bench bench, bool ours)
    {
        var folder = Path.Combine(bench.Folder, ours ? "a" : "b");
        Directory.CreateDirectory(folder);
        var image = Path.Combine(folder, "vda.qcow2");
        File.Copy(bench.Disk.Qcow2, image);
        return await Daemon.StartAsync(ours, folder, image, "qcow2");
    }
}
