namespace Tidemark.Bench.Contests;

/// <summary><c>nbd copy</c> beside nbdcopy: the same server, the same connections and requests, the start of the
/// program included.</summary>
internal static class NbdCopyContests
{
    // nbdcopy makes no more connections than there are processors, whatever it is told.
    private static readonly string[] s_options =
        [$"--connections={Math.Clamp(Environment.ProcessorCount, 1, 4)}", "--requests=64", "--request-size=262144"];

    public static async Task RunAsync(Bench bench)
    {
        if (!bench.Wants("nbd copy"))
        {
            return;
        }

        var folder = Directory.CreateDirectory(Path.Combine(bench.Folder, "nbd-copy")).FullName;
        var targetFile = Path.Combine(folder, "export.raw");
        await Programs.RunAsync("truncate", "-s", $"{bench.Disk.Length}", targetFile);
        await using var target = NbdServerProcess.Nbdkit(folder, targetFile);
        foreach (var isQemu in new[] { true, false })
        {
            await using var source = isQemu
                ? NbdServerProcess.QemuNbd(folder, await NbdContests.CopyAsync(bench, folder, "source"))
                : NbdServerProcess.Nbdkit(folder, await NbdContests.CopyAsync(bench, folder, "source"));
            foreach (var (name, place) in new[]
            {
                ("null", "null:"), ("a file", Path.Combine(folder, "copy.raw")), ("an export", target.Uri),
            })
            {
                var contest = new Contest($"nbd copy from {source.Who} to {name}", "s", bench.Disk.Length);
                void Add(string who, string program, params string[] verb) => contest.Add(
                    who,
                    () => Programs.RunAsync(program, [.. verb, .. s_options, source.Uri, place]),
                    () =>
                    {
                        File.Delete(Path.Combine(folder, "copy.raw"));
                        return Task.CompletedTask;
                    },
                    source.Id,
                    target.Id);

                foreach (var (who, program) in Programs.Ours("nbd copy"))
                {
                    Add(who, program, "nbd", "copy");
                }

                Add("nbdcopy", "nbdcopy");
                await bench.RunAsync(contest);
            }
        }
    }
}
