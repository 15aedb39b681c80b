using System.Text.Json;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Repository.Tests;

/// <summary>restic is the judge of what we write, and its repositories are what we must read.</summary>
[Trait("Category", "Interop")]
public sealed class ResticInteropTests
{
    private static readonly string? s_missing = Tool.Missing("restic");

    [Fact]
    public async Task Restic_checks_lists_and_restores_what_we_wrote()
    {
        Assert.SkipWhen(s_missing is not null, s_missing ?? "");
        await using var test = await TestRepository.CreateAsync();
        var random = new Random(1);
        var first = TestRepository.RandomDisk(random, 50 * TestRepository.Chunk + 4096);
        var one = await test.BackupAsync(first);
        var second = first.ToArray();
        random.NextBytes(second.AsSpan(7 * TestRepository.Chunk, 100));
        await test.BackupAsync(second, await test.Repository.OpenDiskAsync(one, "disk0", TestContext.Current.CancellationToken), first);

        var output = await test.ResticOkAsync("check", "--read-data");
        Assert.DoesNotContain("error", output, StringComparison.OrdinalIgnoreCase);
        using var snapshots = JsonDocument.Parse(await test.ResticOkAsync("snapshots", "--json"));
        Assert.Equal(2, snapshots.RootElement.GetArrayLength());
        Assert.Equal("/vm1", snapshots.RootElement[0].GetProperty("paths")[0].GetString());
        Assert.Contains("/vm1/disk0.raw", await test.ResticOkAsync("ls", "latest"));

        await test.ResticOkAsync("restore", "latest", "--target", test.File("out"));
        Assert.Equal(second, await File.ReadAllBytesAsync(test.File("out/vm1/disk0.raw"), TestContext.Current.CancellationToken));
        await test.ResticOkAsync("restore", one.Id.ToString(), "--target", test.File("out1"));
        Assert.Equal(first, await File.ReadAllBytesAsync(test.File("out1/vm1/disk0.raw"), TestContext.Current.CancellationToken));
    }
}
