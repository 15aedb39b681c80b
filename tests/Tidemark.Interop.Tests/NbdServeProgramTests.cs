using System.Diagnostics;
using Tidemark.Interop.Tests.Programs;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary><c>nbd serve</c> as a process: its signals, and the sockets that it is given.</summary>
[Trait("Category", "Interop")]
public sealed class NbdServeProgramTests : IDisposable
{
    /// <summary>What may be resident, in the ordinary build too, a third of which is the runtime's own files.</summary>
    private const int MostMebibytes = 64;

    private readonly TemporaryDirectory _folder = new();
    private readonly TidemarkProgram _program;

    public NbdServeProgramTests() => _program = new TidemarkProgram(_folder.Path);

    private string Socket => _folder.File("nbd.sock");

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task A_signal_ends_it_well_while_clients_are_busy()
    {
        Require("fio", "qemu-img");
        var disk = _folder.File("disk.qcow2");
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", disk, "64M");
        using var server = Start(disk, "--format", "qcow2");
        using var load = BackgroundProgram.Start(
            "fio",
            [
                "--name=load", "--ioengine=nbd", $"--uri=nbd+unix:///?socket={Socket}", "--rw=randwrite", "--bs=64k",
                "--iodepth=16", "--size=64m", "--time_based", "--runtime=60", "--output=/dev/null",
            ]);
        var file = new FileInfo(disk);
        while (file.Length < 4 << 20)
        {
            Assert.False(load.HasExited);
            await Task.Delay(TimeSpan.FromMilliseconds(20), TestContext.Current.CancellationToken);
            file.Refresh();
        }

        Assert.Equal(0, await EndAsync(server));
        Assert.False(File.Exists(Socket));
        await load.WaitForExitAsync(TestContext.Current.CancellationToken);
        await Tool.RunOkAsync("qemu-img", "check", "-q", disk);
    }

    [Fact]
    public async Task Serves_on_a_socket_that_its_parent_listens_on()
    {
        Require("nbdinfo");
        var disk = Disk(1 << 20);
        var size = await Tool.RunOkAsync(
            "nbdinfo", "--size", "--", "[", TidemarkProgram.Executable, "nbd", "serve", disk, "--format", "raw", "]");
        Assert.Equal($"{1 << 20}", size.Trim());
    }

    // Lengths that change are the hard case: what served the old one must go before the new one comes.
    [Fact]
    [Trait("Category", "Long")]
    public async Task Its_memory_is_bounded_with_64_requests_on_each_of_four_connections()
    {
        Require("fio");
        var disk = _folder.File("disk.raw");
        await Tool.RunOkAsync("truncate", "-s", "256M", disk);
        using var server = Start(disk);
        foreach (var blockSize in (string[])["4k", "256k", "2m", "256k", "2m"])
        {
            await Tool.RunOkAsync(
                "fio",
                [
                    "--name=load", "--ioengine=nbd", $"--uri=nbd+unix:///?socket={Socket}", "--rw=randrw",
                    $"--bs={blockSize}", "--numjobs=4", "--iodepth=64", "--size=256m", "--time_based", "--runtime=2",
                    "--output=/dev/null",
                ]);

            // proc(5): VmHWM is the most that was ever resident, in KiB.
            var status = await File.ReadAllLinesAsync(
                $"/proc/{server.Id}/status", TestContext.Current.CancellationToken);
            var most = long.Parse(
                status.Single(line => line.StartsWith("VmHWM:", StringComparison.Ordinal)).Split(':', 'k')[1],
                System.Globalization.CultureInfo.InvariantCulture);
            Assert.True(
                most <= MostMebibytes << 10,
                $"{most >> 10} MiB after requests of {blockSize}, at most {MostMebibytes}");
        }

        Assert.Equal(0, await EndAsync(server));
    }

    private static void Require(params string[] programs)
    {
        var missing = Tool.Missing(programs);
        Assert.SkipWhen(missing is not null, missing ?? "");
    }

    private string Disk(int length)
    {
        var bytes = new byte[length];
        new Random(1).NextBytes(bytes);
        File.WriteAllBytes(_folder.File("disk.raw"), bytes);
        return _folder.File("disk.raw");
    }

    private Process Start(string disk, params string[] options)
    {
        string[] format = options is [] ? ["--format", "raw"] : options;
        var server = _program.Start(["nbd", "serve", disk, "--socket", Socket, .. format]);
        var watch = Stopwatch.StartNew();
        while (!File.Exists(Socket))
        {
            Assert.False(server.HasExited);
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(60));
            Thread.Sleep(TimeSpan.FromMilliseconds(10));
        }

        return server;
    }

    private static async Task<int> EndAsync(Process process)
    {
        await Tool.RunOkAsync("kill", "-TERM", $"{process.Id}");
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        await process.WaitForExitAsync(limit.Token);
        return process.ExitCode;
    }
}
