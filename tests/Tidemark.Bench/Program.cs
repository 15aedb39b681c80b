using Tidemark.Bench.Contests;
using Tidemark.Testing;

namespace Tidemark.Bench;

internal static class Program
{
    private static async Task<int> Main(string[] arguments)
    {
        if (Tool.Missing(
            "qemu-img", "qemu-storage-daemon", "qemu-nbd", "nbdcopy", "nbdkit", "fio", "restic") is { } why)
        {
            await Console.Error.WriteLineAsync(
                $"bench: {why} (./test installs the peers, as root on a machine with apt)");
            return 1;
        }

        BenchOptions options;
        try
        {
            options = BenchOptions.Parse(arguments, Directory.GetCurrentDirectory());
        }
        catch (ArgumentException exception)
        {
            await Console.Error.WriteLineAsync(exception.Message);
            return 2;
        }

        using var folder = new TemporaryDirectory();
        Programs.StateFolder = folder.Path;
        var disk = new BenchDisk(folder.Path, options.DiskLength);
        await disk.CreateAsync();
        var bench = new Bench(options, folder.Path, disk);
        Report.PrintHead(options);
        try
        {
            await PushContests.RunAsync(bench);
            await RepositoryContests.RunAsync(bench);
            await NbdContests.RunAsync(bench);
            await ImageContests.RunAsync(bench);
            await NbdCopyContests.RunAsync(bench);
        }
        catch (Exception exception) when (exception is InvalidOperationException or IOException)
        {
            await Console.Error.WriteLineAsync($"bench: {exception.Message}");
            return 1;
        }

        if (bench.Results.Count == 0)
        {
            await Console.Error.WriteLineAsync($"no contest is called '{options.Only}'");
            return 2;
        }

        Console.WriteLine();
        Console.WriteLine($"written: {Report.Write(options, bench.Results)}");
        return 0;
    }
}
