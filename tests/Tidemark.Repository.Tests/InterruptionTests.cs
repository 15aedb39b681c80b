using Tidemark.Repository.Backends;
using Tidemark.Repository.Blobs;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Repository.Tests;

/// <summary>A run is killed at every change that it makes; the repository stays whole and the next run works.</summary>
public sealed class InterruptionTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Killed_at_every_change_nothing_is_lost(bool after)
    {
        await using var test = await TestRepository.CreateAsync();
        var random = new Random(3);
        var first = TestRepository.RandomDisk(random, 40 * TestRepository.Chunk);
        var one = await test.BackupAsync(first);
        var kept = new Dictionary<BlobId, byte[]> { [one.Id] = first };

        var killed = 0;
        for (var failAt = 1; ; failAt++)
        {
            var content = TestRepository.RandomDisk(random, 40 * TestRepository.Chunk + 512);
            var faulty = new FaultyBackend(test.Backend, failAt, after, RepositoryErrorKind.Io);
            await using var repository = await test.ReopenAsync(faulty);
            try
            {
                var made = await test.BackupAsync(content, repository: repository);
                kept.Add(made.Id, content);
            }
            catch (RepositoryException)
            {
                // The snapshot's file is the commit; killed just after it was stored, the restore point may exist.
                killed++;
                var listed = await test.Repository.ListSnapshotsAsync(Token);
                foreach (var extra in listed.Where(snapshot => !kept.ContainsKey(snapshot.Id)))
                {
                    Assert.True(after);
                    kept.Add(extra.Id, content);
                }
            }

            RemoveLocks(test);
            await AssertKeptAsync(test, kept);
            if (!faulty.IsDead)
            {
                break;
            }
        }

        Assert.True(killed >= 4, $"only {killed} changes were interrupted");
        if (Tool.Missing("restic") is null)
        {
            await test.ResticOkAsync("check", "--read-data");
        }
    }

    [Fact]
    public async Task The_next_run_uses_packs_that_no_index_names()
    {
        await using var test = await TestRepository.CreateAsync();
        var content = new byte[600 * TestRepository.Chunk];
        new Random(4).NextBytes(content);

        // 37 MiB of random chunks: two packs are full. The changes: the lock, pack, pack, then the third pack dies.
        await using (
            var repository =
            await test.ReopenAsync(new FaultyBackend(test.Backend, 4, false, RepositoryErrorKind.NoSpace)))
        {
            var error =
                await Assert.ThrowsAsync<RepositoryException>(() => test.BackupAsync(content, repository: repository));
            Assert.Equal(RepositoryErrorKind.NoSpace, error.Kind);
        }

        RemoveLocks(test);
        Assert.Equal(2, Damage.Files(test, "data").Length);
        Assert.Empty(Damage.Files(test, "index"));

        await using var next = await test.ReopenAsync();
        await using var writer = await next.BeginSnapshotAsync(Token);
        Assert.Empty(writer.Warnings);
        var disk = writer.AddDisk("disk0", content.Length, TestRepository.Chunk);
        await TestRepository.PutAsync(disk, content);
        await disk.CompleteAsync(Token);
        Assert.InRange(disk.Counters.Known, 500, 512);
        Assert.Equal(600, disk.Counters.Known + disk.Counters.New);
        var made = await writer.CommitAsync(test.Describe(), Token);
        Assert.Equal(content, await TestRepository.ReadAsync(next, made));
    }

    [Fact]
    public async Task Packs_of_a_run_that_is_still_going_are_left_to_it()
    {
        await using var test = await TestRepository.CreateAsync();
        await using var other = await test.ReopenAsync();
        await using var running = await test.Repository.BeginSnapshotAsync(Token);
        var stray = new byte[100];
        await test.Backend.PutAsync(BackendFileKind.Pack, BlobId.Of(stray).ToString(), stray, Token);
        await using var second = await other.BeginSnapshotAsync(Token);
        Assert.Empty(second.Warnings);
        Assert.Empty(Damage.Files(test, "index"));
    }

    [Fact]
    public async Task A_stray_pack_that_is_damaged_is_named_and_not_used()
    {
        await using var test = await TestRepository.CreateAsync();
        await test.BackupAsync(TestRepository.RandomDisk(new Random(5), 10 * TestRepository.Chunk));
        var stray = new byte[100];
        var name = BlobId.Of(stray).ToString();
        await test.Backend.PutAsync(BackendFileKind.Pack, name, stray, Token);
        await using var writer = await test.Repository.BeginSnapshotAsync(Token);
        Assert.Contains(name, Assert.Single(writer.Warnings), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_error_sticks_and_nothing_is_committed()
    {
        await using var test = await TestRepository.CreateAsync();
        await using var repository =
            await test.ReopenAsync(new FaultyBackend(test.Backend, 2, false, RepositoryErrorKind.NoSpace));
        await using var writer = await repository.BeginSnapshotAsync(Token);
        var content = new byte[300 * TestRepository.Chunk];
        new Random(6).NextBytes(content);
        var disk = writer.AddDisk("disk0", content.Length, TestRepository.Chunk);
        var first = await Record.ExceptionAsync(() => TestRepository.PutAsync(disk, content));
        for (var repeat = 0; repeat < 2; repeat++)
        {
            var error = await Assert.ThrowsAsync<RepositoryException>(() => writer.CommitAsync(test.Describe(), Token));
            Assert.Equal(RepositoryErrorKind.NoSpace, error.Kind);
        }

        Assert.True(first is null or RepositoryException);
        Assert.Empty(Damage.Files(test, "snapshots"));
    }

    [Fact]
    public async Task A_commit_whose_index_failed_once_never_succeeds_without_it()
    {
        for (var failAt = 2; failAt <= 5; failAt++)
        {
            await using var test = await TestRepository.CreateAsync();

            // The changes of a small run: the lock, a pack of data, a pack of trees, the index, the snapshot.
            var faulty = new FaultyBackend(test.Backend, failAt, false, RepositoryErrorKind.Io, once: true);
            await using var repository = await test.ReopenAsync(faulty);
            await using var writer = await repository.BeginSnapshotAsync(Token);
            var content = TestRepository.RandomDisk(new Random(failAt), 4 * TestRepository.Chunk);
            var disk = writer.AddDisk("disk0", content.Length, TestRepository.Chunk);
            await TestRepository.PutAsync(disk, content);
            await Assert.ThrowsAsync<RepositoryException>(() => writer.CommitAsync(test.Describe(), Token));
            if (failAt < 5)
            {
                await Assert.ThrowsAsync<RepositoryException>(() => writer.CommitAsync(test.Describe(), Token));
                Assert.Empty(Damage.Files(test, "snapshots"));
                continue;
            }

            // Only the snapshot's file failed: all that it names is durable, and a second try is right.
            var made = await writer.CommitAsync(test.Describe(), Token);
            await using var fresh = await test.ReopenAsync();
            Assert.Equal(content, await TestRepository.ReadAsync(fresh, made));
        }
    }

    private static async Task AssertKeptAsync(TestRepository test, Dictionary<BlobId, byte[]> kept)
    {
        await using var repository = await test.ReopenAsync();
        var snapshots = await repository.ListSnapshotsAsync(Token);
        Assert.Equal(kept.Count, snapshots.Count);
        foreach (var snapshot in snapshots)
        {
            Assert.Equal(kept[snapshot.Id], await TestRepository.ReadAsync(repository, snapshot));
        }
    }

    // The process of these tests lives on, so a killed run's lock would not be found to be stale.
    private static void RemoveLocks(TestRepository test)
    {
        foreach (var path in Damage.Files(test, "locks"))
        {
            File.Delete(path);
        }
    }
}
