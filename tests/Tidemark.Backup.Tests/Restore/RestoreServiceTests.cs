using Tidemark.Backup.Definitions;
using Tidemark.Backup.Restore;
using Tidemark.Backup.Tests.Interop;
using Tidemark.Repository;
using Tidemark.Repository.Snapshots;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Restore;

public sealed class RestoreServiceTests
{
    private const int ChunkSize = 64 << 10;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(RestoreFormat.Raw)]
    [InlineData(RestoreFormat.Qcow2)]
    public async Task A_restored_disk_is_the_stored_one_and_its_zeroes_are_holes(RestoreFormat format)
    {
        await using var scene = new BackupScene();
        var content = await StoreAsync(scene, "vda");
        await using var repository = await scene.OpenAsync();
        var path = Path.Combine(scene.Folder, "restored");
        var report = await new RestoreService().RunAsync(
            new RestoreRequest { Snapshot = "latest", To = path, Format = format }, repository, null, Token);
        Assert.Equal(path, Assert.Single(report.Disks).Path);
        Assert.Equal(["restored"], Left(scene));
        if (format == RestoreFormat.Raw)
        {
            Assert.Equal(content, await File.ReadAllBytesAsync(path, Token));
        }
        else if (Tool.Missing("qemu-img") is null)
        {
            await Tool.RunOkAsync("qemu-img", "check", "-q", path);
            await Tool.RunOkAsync("qemu-img", "convert", "-O", "raw", path, path + ".raw");
            Assert.Equal(content, await File.ReadAllBytesAsync(path + ".raw", Token));
        }

        Assert.True(report.Disks[0].BytesWritten < content.Length / 2);
    }

    [Fact]
    public async Task Several_disks_go_into_a_directory()
    {
        await using var scene = new BackupScene();
        var content = await StoreAsync(scene, "vda", "vdb");
        await using var repository = await scene.OpenAsync();
        var folder = Path.Combine(scene.Folder, "out");
        await new RestoreService().RunAsync(new RestoreRequest { Snapshot = "latest", To = folder }, repository, null,
            Token);
        Assert.Equal(["vda.raw", "vdb.raw"], Directory.EnumerateFiles(folder).Select(Path.GetFileName).Order());
        Assert.Equal(content, await File.ReadAllBytesAsync(Path.Combine(folder, "vdb.raw"), Token));

        var one = await new RestoreService().RunAsync(
            new RestoreRequest { Snapshot = "latest", Disk = "vdb", To = Path.Combine(scene.Folder, "b") }, repository,
                null, Token);
        Assert.Equal("vdb", Assert.Single(one.Disks).Disk);
    }

    [Fact]
    public async Task An_existing_file_is_only_replaced_by_force()
    {
        await using var scene = new BackupScene();
        var content = await StoreAsync(scene, "vda");
        await using var repository = await scene.OpenAsync();
        var path = Path.Combine(scene.Folder, "restored");
        await File.WriteAllTextAsync(path, "precious", Token);
        var request = new RestoreRequest { Snapshot = "latest", To = path };
        var error = await Assert.ThrowsAsync<BackupException>(() => new RestoreService().RunAsync(request, repository,
            null, Token));
        Assert.Equal(BackupErrorKind.Target, error.Kind);
        Assert.Equal("precious", await File.ReadAllTextAsync(path, Token));
        await new RestoreService().RunAsync(request with { Force = true }, repository, null, Token);
        Assert.Equal(content, await File.ReadAllBytesAsync(path, Token));
    }

    [Fact]
    public async Task A_damaged_chunk_fails_the_restore_and_leaves_no_file()
    {
        await using var scene = new BackupScene();
        await StoreAsync(scene, "vda");
        foreach (var pack in Directory.EnumerateFiles(Path.Combine(scene.RepositoryPath, "data"), "*",
            SearchOption.AllDirectories))
        {
            // The first message of a pack is a chunk's; trees lie elsewhere.
            File.SetUnixFileMode(pack, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            await using var file = new FileStream(pack, FileMode.Open, FileAccess.ReadWrite);
            file.Position = 40;
            var old = file.ReadByte();
            file.Position = 40;
            file.WriteByte((byte)(old ^ 0x55));
        }

        await using var repository = await scene.OpenAsync();
        await Assert.ThrowsAsync<RepositoryException>(() => new RestoreService().RunAsync(
            new RestoreRequest { Snapshot = "latest", To = Path.Combine(scene.Folder, "restored") }, repository, null,
                Token));
        Assert.Empty(Left(scene));
    }

    // Two data chunks, the last one short, between zeroes.
    private static async Task<byte[]> StoreAsync(BackupScene scene, params string[] disks)
    {
        await scene.InitializeAsync();
        var content = new byte[20 * ChunkSize + 1536];
        new Random(7).NextBytes(content.AsSpan(3 * ChunkSize, ChunkSize));
        new Random(8).NextBytes(content.AsSpan(20 * ChunkSize));
        await using var repository = await scene.OpenAsync();
        await using var writer = await repository.BeginSnapshotAsync(Token);
        foreach (var name in disks)
        {
            var disk = writer.AddDisk(name, content.Length, ChunkSize);
            for (var index = 0; index < disk.Count; index++)
            {
                await disk.PutChunkAsync(index, content.AsMemory(index * ChunkSize, disk.LengthOf(index)), Token);
            }
        }

        await writer.CommitAsync(
            new SnapshotDescription { VmName = "vm", Time = DateTimeOffset.UnixEpoch }, Token);
        return content;
    }

    private static IEnumerable<string?> Left(BackupScene scene) =>
        Directory.EnumerateFiles(scene.Folder).Select(Path.GetFileName);
}
