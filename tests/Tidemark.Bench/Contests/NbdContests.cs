using System.Text.Json;

namespace Tidemark.Bench.Contests;

/// <summary>NBD servers of one raw file, under fio's NBD engine: one connection over a unix socket.</summary>
internal static class NbdContests
{
    public static async Task RunAsync(Bench bench)
    {
        if (!bench.Wants("nbd server"))
        {
            return;
        }

        var folder = Directory.CreateDirectory(Path.Combine(bench.Folder, "nbd-server")).FullName;
        List<NbdServerProcess> servers = [];
        try
        {
            // Each has a copy of its own, so that none finds the other's locks; all hold the same bytes.
            foreach (var (who, program) in Programs.Ours("nbd serve"))
            {
                servers.Add(NbdServerProcess.Tidemark(
                    who, program, folder, await CopyAsync(bench, folder, $"{servers.Count}")));
            }

            servers.Add(NbdServerProcess.QemuNbd(folder, await CopyAsync(bench, folder, "qemu")));
            servers.Add(NbdServerProcess.Nbdkit(folder, await CopyAsync(bench, folder, "kit")));
            foreach (var (name, options, unit) in Loads())
            {
                var contest = new Contest($"nbd server: {name}", unit, 0);
                foreach (var server in servers)
                {
                    contest.Add(new Contestant(server.Who, async () => await FioAsync(bench, server.Uri, options))
                    {
                        Daemons = [server.Id],
                    });
                }

                await bench.RunAsync(contest);
            }
        }
        finally
        {
            foreach (var server in servers)
            {
                await server.DisposeAsync();
            }
        }
    }

    private static IEnumerable<(string Name, string[] Options, string Unit)> Loads()
    {
        foreach (var mode in new[] { "read", "write" })
        {
            foreach (var depth in new[] { 1, 16, 64 })
            {
                yield return ($"4k random {mode}, {depth} at a time",
                    [$"--rw=rand{mode}", "--bs=4k", $"--iodepth={depth}"], "IOPS");
            }

            yield return ($"256k {mode}, 16 at a time", [$"--rw={mode}", "--bs=256k", "--iodepth=16"], "MB/s");
            yield return ($"2m {mode}, 4 at a time", [$"--rw={mode}", "--bs=2m", "--iodepth=4"], "MB/s");
        }
    }

    internal static async Task<string> CopyAsync(Bench bench, string folder, string name)
    {
        // A file with every block there: what is measured is the server, not the file system's allocation.
        var path = Path.Combine(folder, $"{name}.raw");
        await Programs.RunAsync("cp", "--sparse=never", bench.Disk.Raw, path);
        return path;
    }

    internal static async Task<double> FioAsync(Bench bench, string uri, string[] options)
    {
        var output = await Programs.RunAsync("fio",
        [
            "--name=bench", "--ioengine=nbd", $"--uri={uri}", "--time_based", $"--runtime={bench.Options.NbdSeconds}",
            "--output-format=json", "--randrepeat=1", .. options,
        ]);
        using var document = JsonDocument.Parse(output[output.IndexOf('{', StringComparison.Ordinal)..]);
        var job = document.RootElement.GetProperty("jobs")[0];
        var side = job.GetProperty(options[0].Contains("write", StringComparison.Ordinal) ? "write" : "read");
        return options[1] == "--bs=4k"
            ? side.GetProperty("iops").GetDouble()
            : side.GetProperty("bw_bytes").GetDouble() / 1e6;
    }
}
