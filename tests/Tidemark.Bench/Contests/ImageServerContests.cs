namespace Tidemark.Bench.Contests;

/// <summary>
/// Random writes of 4 KiB, 16 at a time, into a qcow2 image behind a server: <c>nbd serve</c> beside qemu-nbd of each
/// release. Each run has a new copy of the image and a new server.
/// </summary>
internal static class ImageServerContests
{
    private const string Load = "4k random write, 16 at a time";
    private static readonly string[] s_options = ["--rw=randwrite", "--bs=4k", "--iodepth=16"];

    public static async Task RunAsync(Bench bench, string folder)
    {
        foreach (var kind in new[] { "allocated", "preallocated metadata", "nothing allocated" })
        {
            var name = $"image behind nbd server, {kind}: {Load}";
            if (!bench.Wants(name))
            {
                continue;
            }

            var template = Path.Combine(folder, "template.qcow2");
            await CreateAsync(bench, kind, template);
            await using Turn turn = new(folder, template);
            Contest contest = new(name, "IOPS", 0);
            var (who, program) = Programs.Ours("nbd serve")[0];
            Add(contest, bench, turn, who, image => NbdServerProcess.Tidemark(who, program, folder, image, "qcow2"));
            foreach (var (peer, theirs) in ImageContests.Peers("qemu-nbd"))
            {
                Add(contest, bench, turn, peer, image => NbdServerProcess.QemuNbd(folder, image, "qcow2", theirs));
            }

            await bench.RunAsync(contest);
        }
    }

    private static void Add(
        Contest contest, Bench bench, Turn turn, string who, Func<string, NbdServerProcess> start) =>
        contest.Add(new Contestant(who, async () =>
            await NbdContests.FioAsync(bench, turn.Server!.Uri, s_options))
        {
            Prepare = () => turn.NextAsync(start),
            Daemons = turn.Daemons,
        });

    private static async Task CreateAsync(Bench bench, string kind, string path)
    {
        File.Delete(path);
        await Programs.RunAsync("qemu-img",
        [
            "create", "-q", "-f", "qcow2", "-o",
            $"preallocation={(kind == "preallocated metadata" ? "metadata" : "off")}", path, $"{bench.Disk.Length}",
        ]);
        if (kind == "allocated")
        {
            await Programs.RunAsync("qemu-io", "-f", "qcow2", "-c", $"write -q -P 5 0 {bench.Disk.Length}", path);
        }
    }

    /// <summary>The server of this turn: one at a time, on a copy of the template.</summary>
    private sealed class Turn(string folder, string template) : IAsyncDisposable
    {
        private readonly List<int> _daemons = [];

        public NbdServerProcess? Server { get; private set; }

        public IReadOnlyList<int> Daemons => _daemons;

        public async Task NextAsync(Func<string, NbdServerProcess> start)
        {
            await DisposeAsync();
            var image = Path.Combine(folder, "served.qcow2");
            await Programs.RunAsync("cp", "--sparse=always", template, image);
            Server = start(image);
            _daemons.Add(Server.Id);
        }

        public async ValueTask DisposeAsync()
        {
            if (Server is { } server)
            {
                _daemons.Clear();
                Server = null;
                await server.DisposeAsync();
            }
        }
    }
}
