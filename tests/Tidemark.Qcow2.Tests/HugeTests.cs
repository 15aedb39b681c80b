using System.Globalization;
using Tidemark.Blocks.Files;
using Tidemark.Qcow2.Checking;
using Tidemark.Testing;
using Tidemark.Testing.Images;
using Xunit;

namespace Tidemark.Qcow2.Tests;

/// <summary>Disks that are sparse and huge: work and memory follow what is allocated, not the size.</summary>
[Trait("Category", "Long")]
public sealed class HugeTests : IDisposable
{
    private const long Mib = 1 << 20;

    // What the caches may hold (32 MiB and an eighth) and the check's counters; the rest is the run-time's.
    private const long MaximumGrowth = 100 * Mib;

    private readonly TemporaryDirectory _directory = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _directory.Dispose();

    [Fact]
    public async Task AMillionScatteredClustersAreMappedAndCheckedInLittleMemory()
    {
        var path = _directory.File("huge.qcow2");
        await HugeImage.CreateAsync(path);
        using var child = Child.Start("Tidemark.Qcow2.Tests.HugeTests.MapAndCheck", path);
        child.StandardInput.Close();
        var output = child.StandardOutput.ReadToEndAsync(Token);
        await child.WaitForExitAsync(Token);
        Assert.True(child.ExitCode == 0, await output);
        var words = (await File.ReadAllTextAsync(path + ".memory", Token)).Split(' ');
        var (before, peak) = (long.Parse(words[0], CultureInfo.InvariantCulture),
            long.Parse(words[1], CultureInfo.InvariantCulture));
        TestContext.Current.TestOutputHelper?.WriteLine(
            $"resident before {before / Mib} MiB, peak {peak / Mib} MiB");
        Assert.True(peak - before < MaximumGrowth, $"from {before} to {peak} bytes");
    }

    /// <summary>The work, in a process of its own; nothing when this is not that process.</summary>
    [Fact]
    public async Task MapAndCheck()
    {
        if (Child.Task is not { } path || !path.EndsWith("huge.qcow2", StringComparison.Ordinal))
        {
            return;
        }

        var before = Memory("VmRSS:");
        await using (var file = RawFileNode.Open("file", path, readOnly: true))
        {
            await using var node = await Qcow2Node.OpenAsync(
                "a", file, new Qcow2OpenOptions { ReadOnly = true }, Token);
            List<MappedExtent> extents = [];
            var data = 0;
            for (long offset = 0; offset < node.Length;)
            {
                extents.Clear();
                offset += await node.MapAsync(offset, node.Length - offset, extents, 4096, Token);
                data += extents.Count(extent => extent.HostOffset != 0);
            }

            Assert.Equal(HugeImage.Clusters, data);
            var report = await Qcow2Check.RunAsync(file, Token);
            Assert.True(report.IsClean, string.Join("; ", report.Messages));
            Assert.Equal(HugeImage.Clusters, report.AllocatedClusters);
        }

        await File.WriteAllTextAsync(path + ".memory", $"{before} {Memory("VmHWM:")}", Token);
    }

    [Fact]
    public async Task AnEmptyDiskOf64TibTakesTablesOnly()
    {
        var path = _directory.File("empty.qcow2");
        var before = GC.GetTotalAllocatedBytes();
        await using (var file = RawFileNode.Create("file", path, 0))
        {
            await Qcow2Image.CreateAsync(file, new Qcow2CreateOptions { Length = 64L << 40 }, Token);
            await using var node = await Qcow2Node.OpenAsync("a", file, new Qcow2OpenOptions(), Token);
            List<MappedExtent> extents = [];
            await node.MapAsync(0, node.Length, extents, cancellationToken: Token);
            Assert.Single(extents);
            await node.WriteAsync(node.Length - 512, new byte[512], cancellationToken: Token);
        }

        await using (var file = RawFileNode.Open("file", path, readOnly: true))
        {
            Assert.True((await Qcow2Check.RunAsync(file, Token)).IsClean);
            Assert.True(file.Length < 4 * Mib, $"{file.Length}");
        }

        Assert.True(GC.GetTotalAllocatedBytes() - before < 512 * Mib);
    }

    // A field of the kernel's account of this process, in bytes.
    private static long Memory(string field)
    {
        var line = File.ReadLines("/proc/self/status").First(l => l.StartsWith(field, StringComparison.Ordinal));
        var words = line.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
        return long.Parse(words[1], CultureInfo.InvariantCulture) * 1024;
    }
}
