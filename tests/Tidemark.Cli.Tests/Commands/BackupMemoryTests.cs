using System.Runtime.InteropServices;
using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Commands;

/// <summary><c>tidemark backup</c> as a process, hypervisor included: its memory is bounded by named limits and not by
/// the disk, which is larger than the ceiling, so that a run that kept what it reads would break it.</summary>
/// <remarks>A pull, which takes the most; with <c>TIDEMARK_SOAK</c> a push too.</remarks>
[Trait("Category", "Long")]
public sealed class BackupMemoryTests : IDisposable
{
    private const long Mib = 1 << 20, Ceiling = 512 * Mib, DiskSize = 576 * Mib;

    private readonly TemporaryDirectory _directory = new();

    private string Disk => _directory.File("disk.raw");

    public void Dispose() => _directory.Dispose();

    [Fact]
    public async Task A_backup_holds_the_ceiling_whatever_the_size_of_the_disk()
    {
        WriteRandom(Disk, seed: 1);
        string[] modes = Environment.GetEnvironmentVariable("TIDEMARK_SOAK") is null ? ["pull"] : ["pull", "push"];
        foreach (var mode in modes)
        {
            var repository = _directory.File(mode);
            await RunAsync("init", "--repo", repository);
            var peak = await RunAsync("backup", Disk, "--repo", repository, "--name", "vm", "--mode", mode);
            Assert.True(
                peak < Ceiling, $"{mode}: {peak / Mib} MiB for a disk of {DiskSize / Mib}, at most {Ceiling / Mib}");

            // Nothing of it was known or became smaller: all of the disk went through.
            var stored = Directory.EnumerateFiles(repository, "*", SearchOption.AllDirectories)
                .Sum(file => new FileInfo(file).Length);
            Assert.InRange(stored, DiskSize, long.MaxValue);
            Directory.Delete(repository, recursive: true);
        }
    }

    private async Task<long> RunAsync(params string[] arguments)
    {
        var (password, report) = (_directory.File("password"), _directory.File("report"));
        await File.WriteAllTextAsync(password, "secret", TestContext.Current.CancellationToken);
        var (code, peak) = await MeasuredProcess.RunAsync(
            BuiltProgram.Path, [.. arguments, "--password-file", password], report);
        Assert.True(code == 0, await File.ReadAllTextAsync(report, TestContext.Current.CancellationToken));
        return peak;
    }

    private static void WriteRandom(string path, ulong seed)
    {
        var words = new ulong[Mib / sizeof(ulong)];
        using var file = File.Create(path);
        for (long written = 0; written < DiskSize; written += Mib)
        {
            foreach (ref var word in words.AsSpan())
            {
                // Xorshift: a gigabyte of it takes a second, which the seeded generator of the runtime does not.
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                word = seed;
            }

            file.Write(MemoryMarshal.AsBytes(words.AsSpan()));
        }
    }
}
