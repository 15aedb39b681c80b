using Tidemark.Testing;
using Tidemark.Testing.Images;

namespace Tidemark.Bench.Contests;

/// <summary>
/// <c>tidemark image</c> beside qemu-img 7.2 and the newest that is there, each with its best flags, on the same files,
/// which the page cache holds.
/// </summary>
internal static class ImageContests
{
    private const string Ours = "tidemark image";

    public static async Task RunAsync(Bench bench)
    {
        if (!bench.Wants("image"))
        {
            return;
        }

        var folder = Path.Combine(bench.Folder, "i");
        Directory.CreateDirectory(folder);
        var peers = Peers();
        await ConvertAsync(bench, folder, peers, "qcow2 to raw", bench.Disk.Qcow2, "qcow2", "raw", []);
        await ConvertAsync(bench, folder, peers, "raw to qcow2", bench.Disk.Raw, "raw", "qcow2", []);
        await ConvertAsync(bench, folder, peers, "qcow2 to qcow2", bench.Disk.Qcow2, "qcow2", "qcow2", []);
        await ConvertAsync(bench, folder, peers, "raw to compressed qcow2, zstd", bench.Disk.Raw, "raw", "qcow2",
            ["-c", "-o", "compression_type=zstd"]);
        await ConvertAsync(bench, folder, peers, "raw to compressed qcow2, zlib", bench.Disk.Raw, "raw", "qcow2",
            ["-c"]);
        await LookAsync(bench, folder, peers);
    }

    private static List<(string Who, string Program)> Peers()
    {
        List<(string, string)> peers = [];
        foreach (var version in new[] { QemuVersions.Find("7.2"), QemuVersions.Newest })
        {
            if (version is not null && peers.TrueForAll(peer => peer.Item1 != $"qemu-img {version.Name}"))
            {
                peers.Add(($"qemu-img {version.Name}", version.Program("qemu-img")));
            }
        }

        return peers.Count > 0 ? peers : [("qemu-img", "qemu-img")];
    }

    private static async Task ConvertAsync(
        Bench bench, string folder, List<(string Who, string Program)> peers, string name, string source,
        string from, string to, string[] options)
    {
        var contest = new Contest($"image convert: {name}", "s", bench.Disk.DataLength);
        string[] theirs = options.Length > 0 ? ["-m", "16"] : ["-m", "16", "-W"];
        foreach (var (who, program, verb, flags) in Everyone(peers, "convert", [], theirs))
        {
            var target = Path.Combine(folder, $"{who.Replace(' ', '-')}.{to}");
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
        foreach (var left in Directory.EnumerateFiles(folder, $"*.{to}"))
        {
            File.Delete(left);
        }
    }

    private static async Task LookAsync(Bench bench, string folder, List<(string Who, string Program)> peers)
    {
        var path = Path.Combine(folder, "huge.qcow2");
        await HugeImage.CreateAsync(path);
        foreach (var (name, verb) in new[] { ("map of 1 TiB", "map"), ("check of 1 TiB", "check") })
        {
            var contest = new Contest($"image {name}, 1 Mi scattered clusters", "s", 0);
            foreach (var (who, program, words, _) in Everyone(peers, verb, [], []))
            {
                contest.Add(who, () => Programs.RunAsync(program, [.. words, "--output=json", "-f", "qcow2", path]));
            }

            await bench.RunAsync(contest);
        }
    }

    private static IEnumerable<(string Who, string Program, string[] Verb, string[] Flags)> Everyone(
        List<(string Who, string Program)> peers, string verb, string[] ours, string[] theirs) =>
    [
        (Ours, Programs.Tidemark, ["image", verb], ours),
        .. peers.Select(peer => (peer.Who, peer.Program, new[] { verb }, theirs)),
    ];
}
