using System.Text.Json;
using Tidemark.Repository.Backends;
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
        await test.BackupAsync(second,
            await test.Repository.OpenDiskAsync(one, "disk0", TestContext.Current.CancellationToken), first);

        var output = await test.ResticOkAsync("check", "--read-data");
        Assert.DoesNotContain("error", output, StringComparison.OrdinalIgnoreCase);
        using var snapshots = JsonDocument.Parse(await test.ResticOkAsync("snapshots", "--json"));
        Assert.Equal(2, snapshots.RootElement.GetArrayLength());
        Assert.Equal("/vm1", snapshots.RootElement[0].GetProperty("paths")[0].GetString());
        Assert.Contains("/vm1/disk0.raw", await test.ResticOkAsync("ls", "latest"));

        await test.ResticOkAsync("restore", "latest", "--target", test.File("out"));
        Assert.Equal(second,
            await File.ReadAllBytesAsync(test.File("out/vm1/disk0.raw"), TestContext.Current.CancellationToken));
        await test.ResticOkAsync("restore", one.Id.ToString(), "--target", test.File("out1"));
        Assert.Equal(first,
            await File.ReadAllBytesAsync(test.File("out1/vm1/disk0.raw"), TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Incrementals_go_on_after_forget_prune_and_rebuild_index()
    {
        Assert.SkipWhen(s_missing is not null, s_missing ?? "");
        await using var test = await TestRepository.CreateAsync();
        var random = new Random(2);
        var content = TestRepository.RandomDisk(random, 60 * TestRepository.Chunk);
        var snapshot = await test.BackupAsync(content);
        foreach (var step in new string[][]
        {
            ["forget", "--keep-last", "1", "--prune", "--max-unused", "0"],
            ["rebuild-index"],
            ["forget", "--keep-last", "2", "--prune", "--repack-small"],
            ["rebuild-index", "--read-all-packs"],
        })
        {
            // The same Repository object goes on: its index in memory is older than what restic made.
            var parent = await test.Repository.OpenDiskAsync(snapshot, "disk0", Token);
            var next = content.ToArray();
            random.NextBytes(next.AsSpan(random.Next(50) * TestRepository.Chunk, 3 * TestRepository.Chunk));
            next.AsSpan(random.Next(50) * TestRepository.Chunk, 2 * TestRepository.Chunk).Clear();
            snapshot = await test.BackupAsync(next, parent, content);
            content = next;
            await test.ResticOkAsync(step);
            Assert.Equal(content, await TestRepository.ReadAsync(test.Repository, snapshot));
            await using var fresh = await test.ReopenAsync();
            Assert.Equal(content, await TestRepository.ReadAsync(fresh, snapshot));
        }

        Assert.DoesNotContain("error", await test.ResticOkAsync("check", "--read-data"),
            StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public async Task Restic_copies_our_restore_points_and_we_read_the_copies()
    {
        Assert.SkipWhen(s_missing is not null, s_missing ?? "");
        await using var test = await TestRepository.CreateAsync();
        var content = TestRepository.RandomDisk(new Random(3), 30 * TestRepository.Chunk + 1000);
        await test.BackupAsync(content);
        var copy = test.File("copy");
        var environment = new Dictionary<string, string> { ["RESTIC_PASSWORD"] = "of the copy" };
        await RunAsync(environment, "init", "--repository-version", "2", "-r", copy);
        await File.WriteAllTextAsync(test.File("password2"), "of the copy", Token);
        environment["RESTIC_PASSWORD"] = TestRepository.Password;
        await RunAsync(environment, "copy", "-r", test.Path, "--repo2", copy, "--password-file2",
            test.File("password2"));

        await using var copied = await Repository.OpenAsync(
            new LocalBackend(copy), "of the copy", TestRepository.Options, Token);
        var snapshot = await copied.FindSnapshotAsync("latest", "vm1", Token);
        Assert.Equal(content, await TestRepository.ReadAsync(copied, snapshot));
        Assert.Equal("{\"a\":1}"u8.ToArray(), await copied.ReadFileAsync(snapshot, "tidemark.json", Token));
    }

    [Fact]
    public async Task A_repository_of_restics_is_read_and_written_to()
    {
        Assert.SkipWhen(s_missing is not null, s_missing ?? "");
        await using var test = await TestRepository.CreateAsync();
        var path = test.File("theirs");
        var environment = new Dictionary<string, string> { ["RESTIC_PASSWORD"] = "theirs" };
        await RunAsync(environment, "init", "--repository-version", "2", "-r", path);
        var files = Directory.CreateDirectory(test.File("files")).FullName;
        var random = new Random(4);
        var large = new byte[9_000_001];
        random.NextBytes(large.AsSpan(0, 5_000_000));
        await File.WriteAllBytesAsync(Path.Combine(files, "large & <odd> \"näme\".bin"), large, Token);
        await File.WriteAllBytesAsync(Path.Combine(files, "empty"), [], Token);
        await RunAsync(environment, "backup", "-r", path, files);

        await using var repository = await Repository.OpenAsync(
            new LocalBackend(path), "theirs", TestRepository.Options, Token);
        var theirs = await repository.FindSnapshotAsync("latest", cancellationToken: Token);
        Assert.False(theirs.IsRestorePoint);
        using var copy = new MemoryStream();
        await repository.CopyFileAsync(theirs, Path.Combine(files, "large & <odd> \"näme\".bin"), copy, Token);
        Assert.Equal(large, copy.ToArray());
        Assert.Empty(await repository.ReadFileAsync(theirs, Path.Combine(files, "empty"), Token));
        var refused = await Assert.ThrowsAsync<RepositoryException>(() => repository.ListDisksAsync(theirs, Token));
        Assert.Equal(RepositoryErrorKind.NotSupported, refused.Kind);

        var content = TestRepository.RandomDisk(random, 20 * TestRepository.Chunk);
        var ours = await test.BackupAsync(content, repository: repository);
        Assert.Equal(content, await TestRepository.ReadAsync(repository, ours));
        await RunAsync(environment, "check", "--read-data", "-r", path);
        await RunAsync(environment, "backup", "-r", path, files);
    }

    [Fact]
    public async Task Version_1_is_refused_by_name()
    {
        Assert.SkipWhen(s_missing is not null, s_missing ?? "");
        await using var test = await TestRepository.CreateAsync();
        var environment = new Dictionary<string, string> { ["RESTIC_PASSWORD"] = "old" };
        await RunAsync(environment, "init", "--repository-version", "1", "-r", test.File("old"));
        var error = await Assert.ThrowsAsync<RepositoryException>(
            () => Repository.OpenAsync(new LocalBackend(test.File("old")), "old", cancellationToken: Token));
        Assert.Equal(RepositoryErrorKind.NotSupported, error.Kind);
        Assert.Contains("version 1", error.Message, StringComparison.Ordinal);
    }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private static async Task RunAsync(Dictionary<string, string> environment, params string[] arguments)
    {
        var result = await Tool.RunAsync("restic", ["--no-cache", "-q", .. arguments], environment: environment);
        Assert.True(result.ExitCode == 0, $"restic {string.Join(' ', arguments)}: {result.Error}{result.Output}");
    }
}
