using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary>Restoring as a user does it: to a file, into a directory, never over something, never half.</summary>
[Trait("Category", "Interop")]
public sealed class RestoreTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task One_disk_to_a_file_and_all_of_them_into_a_directory()
    {
        Scene.SkipUnlessPossible();
        await using var scene = await Scene.CreateAsync(HypervisorKind.QemuStorageDaemon);
        var point = await scene.BackupAsync("pull");
        var repository = scene.Tidemark.Repository;

        var folder = Path.Combine(scene.Folder, "all");
        await scene.Tidemark.RunOkAsync("restore", point.SnapshotId[..8], "--repo", repository, "--to", folder);
        Assert.Equal(
            ["vda.raw", "vdb.raw"], Directory.EnumerateFiles(folder).Select(Path.GetFileName).Order());
        var file = Path.Combine(folder, "vdb.raw");
        Scene.AssertSame(scene.Initial[1], await File.ReadAllBytesAsync(file, Token));
        // Zeros stay holes: 10 MiB of data in a disk of 48.
        var blocks = await Tool.RunOkAsync("stat", "-c", "%b", file);
        Assert.InRange(long.Parse(blocks) * 512, 1, 12 << 20);

        // Nothing is overwritten without being told to.
        var again = await scene.Tidemark.RunAsync("restore", "latest:vdb", "--repo", repository, "--to", file);
        Assert.NotEqual(0, again.ExitCode);
        Assert.Contains("--force", again.Error);
        await File.WriteAllTextAsync(file, "something", Token);
        await scene.Tidemark.RunOkAsync("restore", "latest:vdb", "--repo", repository, "--to", file, "--force");
        Scene.AssertSame(scene.Initial[1], await File.ReadAllBytesAsync(file, Token));

        var image = Path.Combine(scene.Folder, "vda-again.qcow2");
        await scene.Tidemark.RunOkAsync(
            "restore", "latest:vda", "--repo", repository, "--to", image, "--format", "qcow2");
        await Tool.RunOkAsync("qemu-img", "compare", image, Path.Combine(folder, "vda.raw"));
    }

    [Fact]
    public async Task A_restore_that_fails_leaves_no_file()
    {
        Scene.SkipUnlessPossible();
        await using var scene = await Scene.CreateAsync(HypervisorKind.QemuStorageDaemon, diskCount: 1);
        await scene.BackupAsync("pull");
        // Every pack that holds data loses its first byte.
        foreach (var pack in Directory.EnumerateFiles(
            Path.Combine(scene.Tidemark.Repository, "data"), "*", SearchOption.AllDirectories))
        {
            File.SetUnixFileMode(pack, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            var bytes = await File.ReadAllBytesAsync(pack, Token);
            bytes[20] ^= 1;
            await File.WriteAllBytesAsync(pack, bytes, Token);
        }

        var target = Path.Combine(scene.Folder, "restored.raw");
        var result = await scene.Tidemark.RunAsync(
            "restore", "latest:vda", "--repo", scene.Tidemark.Repository, "--to", target);
        Assert.NotEqual(0, result.ExitCode);
        Assert.NotEmpty(result.Error);
        Assert.Empty(Directory.EnumerateFiles(scene.Folder, "restored*"));
    }

    [Fact]
    public async Task A_repository_is_never_initialised_twice()
    {
        Scene.SkipUnlessPossible();
        await using var scene = await Scene.CreateAsync(HypervisorKind.QemuStorageDaemon, diskCount: 1);
        var again = await scene.Tidemark.RunAsync("init", "--repo", scene.Tidemark.Repository);
        Assert.NotEqual(0, again.ExitCode);
        Assert.Contains("there is a repository", again.Error);
    }
}
