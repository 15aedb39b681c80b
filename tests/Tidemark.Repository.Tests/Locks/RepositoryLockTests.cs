using Tidemark.Repository.Backends;
using Tidemark.Repository.Locks;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Repository.Tests.Locks;

public sealed class RepositoryLockTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_run_holds_a_lock_and_gives_it_back_however_it_ends()
    {
        await using var test = await TestRepository.CreateAsync();
        await using (await test.Repository.BeginSnapshotAsync(Token))
        {
            Assert.Single(Damage.Files(test, "locks"));
        }

        Assert.Empty(Damage.Files(test, "locks"));
        Damage.Flip(await IndexOfAsync(test), 20);
        await using var damaged = await test.ReopenAsync();
        await Assert.ThrowsAsync<RepositoryException>(() => damaged.BeginSnapshotAsync(Token));
        Assert.Empty(Damage.Files(test, "locks"));
    }

    [Fact]
    public async Task An_exclusive_lock_keeps_us_out_unless_it_is_stale()
    {
        await using var test = await TestRepository.CreateAsync();
        var now = TimeProvider.System.GetUtcNow();
        await PutAsync(test, new LockContent(now, true, "elsewhere", "prune", 4711));
        var error = await Assert.ThrowsAsync<RepositoryException>(() => test.Repository.BeginSnapshotAsync(Token));
        Assert.Equal(RepositoryErrorKind.Locked, error.Kind);
        Assert.Contains("elsewhere", error.Message, StringComparison.Ordinal);
        Assert.Single(Damage.Files(test, "locks"));
        File.Delete(Damage.Files(test, "locks").Single());

        await PutAsync(test, new LockContent(now.AddMinutes(-31), true, "elsewhere", "prune", 4711));
        await PutAsync(test, new LockContent(now, true, Environment.MachineName, "prune", int.MaxValue));
        await using (await test.Repository.BeginSnapshotAsync(Token))
        {
            Assert.Single(Damage.Files(test, "locks"));
        }
    }

    [Fact]
    public async Task A_lock_that_cannot_be_read_is_not_passed_over()
    {
        await using var test = await TestRepository.CreateAsync();
        await using var held = await test.Repository.LockAsync(Token);
        Damage.Flip(Damage.Files(test, "locks").Single(), 30);
        var error = await Assert.ThrowsAsync<RepositoryException>(() => test.Repository.BeginSnapshotAsync(Token));
        Assert.Equal(RepositoryErrorKind.Damaged, error.Kind);
        Assert.Contains("unlock", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Nothing_is_committed_when_somebody_removed_our_lock()
    {
        await using var test = await TestRepository.CreateAsync();
        await using var writer = await test.Repository.BeginSnapshotAsync(Token);
        writer.AddDisk("disk0", TestRepository.Chunk, TestRepository.Chunk).PutZero(0);
        File.Delete(Damage.Files(test, "locks").Single());
        var error = await Assert.ThrowsAsync<RepositoryException>(() => writer.CommitAsync(test.Describe(), Token));
        Assert.Equal(RepositoryErrorKind.LockLost, error.Kind);
        Assert.Empty(Damage.Files(test, "snapshots"));
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task Restic_respects_our_lock_and_we_survive_its_question()
    {
        Assert.SkipWhen(Tool.Missing("restic") is not null, "restic is not installed");
        await using var test = await TestRepository.CreateAsync();
        await test.BackupAsync(TestRepository.RandomDisk(new Random(1), 4 * TestRepository.Chunk));
        await using (await test.Repository.LockAsync(Token))
        {
            // restic asks whether we live by sending SIGHUP, and leaves the lock.
            await test.ResticOkAsync("unlock");
            Assert.Single(Damage.Files(test, "locks"));
            var prune = await test.ResticAsync("prune");
            Assert.NotEqual(0, prune.ExitCode);
            Assert.Contains("locked", prune.Error, StringComparison.Ordinal);
        }

        await test.ResticOkAsync("prune");
    }

    private static async Task PutAsync(TestRepository test, LockContent content) =>
        await test.Repository.Files.PutJsonAsync(BackendFileKind.Lock, content.Encode(), Token);

    private static async Task<string> IndexOfAsync(TestRepository test)
    {
        await test.BackupAsync(TestRepository.RandomDisk(new Random(1), 4 * TestRepository.Chunk));
        return Damage.Files(test, "index").Single();
    }
}
