using Tidemark.Testing;
using Tidemark.Testing.Images;

namespace Tidemark.Bench.Contests;

/// <summary>
/// <c>tidemark image</c> beside qemu-img 7.2 and the newest that is there, each with its best flags, on the same files,
/// which the page cache holds.
/// </summary>
internal static class ImageContests
{
    public static async Task RunAsync(Bench bench)
    {
        var folder = Path.Combine(bench.Folder, "i");
        Directory.CreateDirectory(folder);
        var peers = Peers("qemu-img");
        await ConvertAsync(bench, folder, peers, "qcow2 to raw", bench.Disk.Qcow2, "qcow2", "raw", []);
        await ConvertAsync(bench, folder, peers, "raw to qcow2", bench.Disk.Raw, "raw", "qcow2", []);
        await ConvertAsync(bench, folder, peers, "qcow2 to qcow2", bench.Disk.Qcow2, "qcow2", "qcow2", []);
        await ConvertAsync(bench, folder, peers, "raw to compressed qcow2, zstd", bench.Disk.Raw, "raw", "qcow2",
            ["-c", "-o", "compression_type=zstd"]);
        await ConvertAsync(bench, folder, peers, "raw to compressed qcow2, zlib", bench.Disk.Raw, "raw", "qcow2",
            ["-c"]);
        await LookAsync(bench, folder, peers);
        await ImageServerContests.RunAsync(bench, folder);
        await ImageBitmapContests.RunAsync(bench, folder);
    }

    /// <summary>A program of QEMU 7.2 and of the newest release that is there.</summary>
    internal static List<(string Who, string Program)> Peers(string program)
    {
        List<(string, string)> peers = [];
        foreach (var version in new[] { QemuVersions.Find("7.2"), QemuVersions.Newest })
        {
            if (version is not null && peers.TrueForAll(peer => peer.Item1 != $"{program} {version.Name}"))
            {
                peers.Add(($"{program} {version.Name}", version.Program(program)));
            }
        }

        return peers.Count > 0 ? peers : [(program, program)];
    }

    // Nobody waits for the disk: qemu-img does not by default, and ours is told so.
    private static async Task ConvertAsync(
        Bench bench, string folder, List<(string Who, string Program)> peers, string name, string source,
        string from, string to, string[] options)
    {
        var contest = new Contest($"image convert: {name}", "s", bench.Disk.DataLength);
        if (!bench.Wants(contest.Name))
        {
            return;
        }

        Dictionary<string, string> targets = [];
        string[] theirs = options.Length > 0 ? ["-m", "16"] : ["-m", "16", "-W"];
        foreach (var (who, program, verb, flags) in Everyone(peers, "convert", ["-t", "unsafe"], theirs))
        {
            var target = targets[who] = Path.Combine(folder, $"{who.Replace(' ', '-')}.{to}");
            contest.Add(
                who,
                () => Programs.RunAsync(program, [.. verb, .. flags, "-f", from, "-O", to, .. options, source, target]),
                () =>
                {
                    File.Delete(target);
                    return Task.CompletedTask;
                });
        }

        await bench.RunAsync(contest);
        foreach (var (who, target) in targets)
        {
            Console.Error.WriteLine($"  {contest.Name}: {who}: {new FileInfo(target).Length / 1e6:0.0} MB written");
            File.Delete(target);
        }
    }

    private static async Task LookAsync(Bench bench, string folder, List<(string Who, string Program)> peers)
    {
        var path = Path.Combine(folder, "huge.qcow2");
        foreach (var (name, verb) in new[] { ("map of 1 TiB", "map"), ("check of 1 TiB", "check") })
        {
            var contest = new Contest($"image {name}, 1 Mi scattered clusters", "s", 0);
            if (!bench.Wants(contest.Name))
            {
                continue;
            }

            await HugeImage.CreateAsync(path);
            foreach (var (who, program, words, _) in Everyone(peers, verb, [], []))
            {
                contest.Add(who, () => Programs.RunToNowhereAsync(
                    program, [.. words, "--output=json", "-f", "qcow2", path]));
            }

            await bench.RunAsync(contest);
        }
    }

    private static IEnumerable<(string Who, string Program, string[] Verb, string[] Flags)> Everyone(
        List<(string Who, string Program)> peers, string verb, string[] ours, string[] theirs) =>
    [
        (Programs.Ours("image")[0].Who, Programs.Ours("image")[0].Program, ["image", verb], ours),
        .. peers.Select(peer => (peer.Who, peer.Program, new[] { verb }, theirs)),
    ];
}
