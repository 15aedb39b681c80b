using System.Diagnostics;
using System.Text.Json;

namespace Tidemark.Bench.Contests;

/// <summary>NBD servers of one raw file, under fio's NBD engine: one connection over a unix socket.</summary>
internal static class NbdContests
{
    public static async Task RunAsync(Bench bench)
    {
        if (!bench.Wants("nbd"))
        {
            return;
        }

        var folder = Path.Combine(bench.Folder, "n");
        Directory.CreateDirectory(folder);
        var servers = new List<(string Who, string Uri, int Id, Func<ValueTask> Stop)>();
        try
        {
            foreach (var ours in new[] { true, false })
            {
                var file = await CopyAsync(bench, folder, ours ? "1" : "2");
                var daemon = await Daemon.StartAsync(ours, Path.Combine(folder, ours ? "ours" : "qsd"), file, "raw");
                var who = ours ? "tidemark storage-daemon" : "qemu-storage-daemon";
                servers.Add((who, $"nbd+unix:///vda?socket={daemon.NbdPath}", daemon.Id, daemon.DisposeAsync));
            }

            var (nbdSocket, kitSocket) = (Path.Combine(folder, "q.sock"), Path.Combine(folder, "k.sock"));
            servers.Add(Start("qemu-nbd", nbdSocket, "-k", nbdSocket, "-f", "raw", "-t", "--cache=writeback",
                await CopyAsync(bench, folder, "3")));
            servers.Add(Start("nbdkit file", kitSocket, "--foreground", "nbdkit", "-U", kitSocket, "file",
                await CopyAsync(bench, folder, "4")));
            (string Name, string[] Options, string Unit)[] loads =
            [
                ("4k random read, 1 at a time", ["--rw=randread", "--bs=4k", "--iodepth=1"], "IOPS"),
                ("4k random read, 16 at a time", ["--rw=randread", "--bs=4k", "--iodepth=16"], "IOPS"),
                ("4k random write, 16 at a time", ["--rw=randwrite", "--bs=4k", "--iodepth=16"], "IOPS"),
                ("256k read, 16 at a time", ["--rw=read", "--bs=256k", "--iodepth=16"], "MB/s"),
                ("256k write, 16 at a time", ["--rw=write", "--bs=256k", "--iodepth=16"], "MB/s"),
            ];
            foreach (var load in loads)
            {
                var contest = new Contest($"nbd server: {load.Name}", load.Unit, 0);
                foreach (var server in servers)
                {
                    contest.Add(new Contestant(server.Who, async () => await FioAsync(bench, server.Uri, load.Options))
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
                await server.Stop();
            }
        }
    }

    private static async Task<string> CopyAsync(Bench bench, string folder, string name)
    {
        // A file with every block there: what is measured is the server, not the file system's allocation.
        var path = Path.Combine(folder, $"{name}.raw");
        await Programs.RunAsync("cp", "--sparse=never", bench.Disk.Raw, path);
        return path;
    }

    private static (string Who, string Uri, int Id, Func<ValueTask> Stop) Start(
        string who, string socket, params string[] command)
    {
        var process = command[0] == "--foreground"
            ? Programs.Start(command[1], ["--foreground", .. command[2..]])
            : Programs.Start(who, command);
        var waited = Stopwatch.StartNew();
        while (!File.Exists(socket))
        {
            if (process.HasExited || waited.Elapsed > TimeSpan.FromSeconds(10))
            {
                throw new InvalidOperationException($"{who} does not listen: {process.StandardError.ReadToEnd()}");
            }

            Thread.Yield();
        }

        return (who, $"nbd+unix:///?socket={socket}", process.Id, async () =>
        {
            process.Kill();
            await process.WaitForExitAsync();
            process.Dispose();
        });
    }

    private static async Task<double> FioAsync(Bench bench, string uri, string[] options)
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
