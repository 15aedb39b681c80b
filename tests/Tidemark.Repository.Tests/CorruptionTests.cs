using Tidemark.Blocks.Nodes;
using Tidemark.Repository.Disks;
using Xunit;

namespace Tidemark.Repository.Tests;

/// <summary>One changed bit anywhere is an error that names the file, never other bytes.</summary>
public sealed class CorruptionTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("index", "rebuild-index")]
    [InlineData("snapshots", "restore point")]
    public async Task Every_changed_bit_of_a_file_is_found(string folder, string advice)
    {
        await using var test = await TestRepository.CreateAsync();
        await test.BackupAsync(TestRepository.RandomDisk(new Random(1), 6 * TestRepository.Chunk));
        var path = Damage.Files(test, folder).Single();
        for (var offset = 0L; offset < new FileInfo(path).Length; offset += 11)
        {
            Damage.Flip(path, offset);
            await using var repository = await test.ReopenAsync();
            var error = await Assert.ThrowsAsync<RepositoryException>(() => ReadLatestAsync(repository));
            Assert.Equal(RepositoryErrorKind.Damaged, error.Kind);
            Assert.Contains(Path.GetFileName(path), error.Message, StringComparison.Ordinal);
            Assert.Contains(advice, error.Message, StringComparison.Ordinal);
            Damage.Flip(path, offset);
        }

        await using var whole = await test.ReopenAsync();
        await ReadLatestAsync(whole);
    }

    [Fact]
    public async Task A_changed_config_is_found()
    {
        await using var test = await TestRepository.CreateAsync();
        var path = Path.Combine(test.Path, "config");
        for (var offset = 0L; offset < new FileInfo(path).Length; offset += 5)
        {
            Damage.Flip(path, offset);
            var error = await Assert.ThrowsAsync<RepositoryException>(() => test.ReopenAsync());
            Assert.Equal(RepositoryErrorKind.Damaged, error.Kind);
            Damage.Flip(path, offset);
        }
    }

    [Fact]
    public async Task A_changed_bit_of_a_pack_fails_the_chunk_it_is_in_and_no_other()
    {
        await using var test = await TestRepository.CreateAsync();
        var random = new Random(2);
        var content = new byte[8 * TestRepository.Chunk];
        random.NextBytes(content);
        var snapshot = await test.BackupAsync(content);
        var disk = await test.Repository.OpenDiskAsync(snapshot, "disk0", Token);

        // The eight random chunks are by far the largest part of their pack.
        var path = Damage.Files(test, "data").MaxBy(static path => new FileInfo(path).Length)!;
        for (var repeat = 0; repeat < 40; repeat++)
        {
            var offset = random.Next(8 * (TestRepository.Chunk + 32));
            Damage.Flip(path, offset);
            await using var node = new SnapshotNode("node", test.Repository, disk);
            var failures = 0;
            for (var index = 0; index < disk.Count; index++)
            {
                var chunk = new byte[TestRepository.Chunk];
                try
                {
                    await node.ReadAsync((long)index * TestRepository.Chunk, chunk, Token);
                    Assert.True(
                        chunk.AsSpan().SequenceEqual(content.AsSpan(index * TestRepository.Chunk, chunk.Length)));
                }
                catch (BlockException exception)
                {
                    failures++;
                    Assert.Equal(BlockErrorKind.Corrupt, exception.Kind);
                    Assert.Contains(Path.GetFileName(path), exception.Message, StringComparison.Ordinal);
                }
            }

            Assert.Equal(1, failures);
            Damage.Flip(path, offset);
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_lost_or_cut_pack_is_reported_and_its_chunks_are_stored_again_not_inherited(bool delete)
    {
        await using var test = await TestRepository.CreateAsync();
        var content = new byte[8 * TestRepository.Chunk];
        new Random(3).NextBytes(content);
        var parent = await test.Repository.OpenDiskAsync(await test.BackupAsync(content), "disk0", Token);
        var path = Damage.Files(test, "data").MaxBy(static path => new FileInfo(path).Length)!;
        if (delete)
        {
            File.Delete(path);
        }
        else
        {
            Damage.Cut(path, 1000);
        }

        await using var repository = await test.ReopenAsync();
        await using var writer = await repository.BeginSnapshotAsync(Token);
        Assert.Contains(Path.GetFileName(path), Assert.Single(writer.Warnings), StringComparison.Ordinal);
        var disk = writer.AddDisk("disk0", content.Length, TestRepository.Chunk, parent);
        Assert.False(disk.CanInherit(0, out _));
        var error = Assert.Throws<RepositoryException>(() => disk.Inherit(0));
        Assert.Equal(RepositoryErrorKind.MissingBlob, error.Kind);

        await TestRepository.PutAsync(disk, content, content);
        var made = await writer.CommitAsync(test.Describe(), Token);
        Assert.Equal(0, disk.Counters.Inherited);
        Assert.Equal(content, await TestRepository.ReadAsync(repository, made));
    }

    private static async Task ReadLatestAsync(Repository repository) =>
        await TestRepository.ReadAsync(repository, await repository.FindSnapshotAsync("latest"));
}
