using Tidemark.Repository.Backends;
using Tidemark.Repository.Blobs;
using Tidemark.Repository.Snapshots;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Repository.Tests;

/// <summary>Random sequences of backups against the simplest model: a copy of each disk.</summary>
public sealed class SequenceTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public Task Any_sequence_of_backups_restores_every_point() =>
        TestSeed.RunAsync(random => RunAsync(random, 12, false));

    [Fact]
    [Trait("Category", "Interop")]
    [Trait("Category", "Long")]
    public async Task Any_sequence_of_backups_and_prunes_passes_restics_check()
    {
        Assert.SkipWhen(Tool.Missing("restic") is not null, "restic is not installed");
        await TestSeed.RunAsync(random => RunAsync(random, 12, true));
    }

    [Fact]
    public async Task Two_runs_at_once_store_what_each_one_needs()
    {
        await using var test = await TestRepository.CreateAsync();
        await using var other = await test.ReopenAsync();
        var random = new Random(8);
        var shared = TestRepository.RandomDisk(random, 100 * TestRepository.Chunk);
        var contents = Enumerable.Range(0, 4).Select(_ =>
        {
            var content = shared.ToArray();
            random.NextBytes(content.AsSpan(random.Next(90) * TestRepository.Chunk, TestRepository.Chunk));
            return content;
        }).ToArray();
        var made = await Task.WhenAll(contents.Select((content, number) => Task.Run(
            async () =>
            {
                var repository = number % 2 == 0 ? test.Repository : other;
                await using var writer = await repository.BeginSnapshotAsync(Token);
                await TestRepository.PutAsync(writer.AddDisk("disk0", content.Length, TestRepository.Chunk), content);
                return await writer.CommitAsync(test.Describe($"vm{number}"), Token);
            },
            Token)));

        await using var fresh = await test.ReopenAsync();
        for (var number = 0; number < made.Length; number++)
        {
            Assert.Equal(contents[number], await TestRepository.ReadAsync(fresh, made[number]));
        }

        Assert.Empty(Damage.Files(test, "locks"));
        if (Tool.Missing("restic") is null)
        {
            await test.ResticOkAsync("check", "--read-data");
        }
    }

    private static async Task RunAsync(Random random, int steps, bool withRestic)
    {
        await using var test = await TestRepository.CreateAsync();
        var points = new Dictionary<BlobId, byte[]>();
        (Snapshot Snapshot, byte[] Content)? last = null;
        for (var step = 0; step < steps; step++)
        {
            var content = Change(random, last?.Content);
            var parent = last is { } one ? await test.Repository.OpenDiskAsync(one.Snapshot, "disk0", Token) : null;
            var made = await test.BackupAsync(content, parent, last?.Content);
            points.Add(made.Id, content);
            last = (made, content);
            switch (random.Next(5))
            {
                case 0 when withRestic:
                    var victim = points.Keys.ElementAt(random.Next(points.Count));
                    if (victim != made.Id)
                    {
                        points.Remove(victim);
                        await test.ResticOkAsync("forget", victim.ToString(), "--prune", "--max-unused", "0");
                    }

                    break;
                case 1 when points.Count > 1:
                    // Any restore point may go: none depends on another one.
                    var gone = points.Keys.First(id => id != made.Id);
                    points.Remove(gone);
                    await test.Backend.DeleteAsync(BackendFileKind.Snapshot, gone.ToString(), Token);
                    break;
            }
        }

        await using var fresh = await test.ReopenAsync();
        var snapshots = await fresh.ListSnapshotsAsync(Token);
        Assert.Equal(points.Count, snapshots.Count);
        foreach (var snapshot in snapshots)
        {
            Assert.Equal(points[snapshot.Id], await TestRepository.ReadAsync(fresh, snapshot));
        }

        if (withRestic)
        {
            await test.ResticOkAsync("check", "--read-data");
        }
    }

    // Writes here and there, zeroes, and now and then another length.
    private static byte[] Change(Random random, byte[]? old)
    {
        if (old is null)
        {
            return TestRepository.RandomDisk(random, random.Next(1, 30 * TestRepository.Chunk));
        }

        var content = old.ToArray();
        if (random.Next(4) == 0)
        {
            Array.Resize(ref content, random.Next(1, 30 * TestRepository.Chunk));
        }

        for (var writes = random.Next(6); writes > 0; writes--)
        {
            var offset = random.Next(content.Length);
            var range =
                content.AsSpan(offset, random.Next(Math.Min(content.Length - offset, 2 * TestRepository.Chunk) + 1));
            if (random.Next(3) == 0)
            {
                range.Clear();
            }
            else
            {
                random.NextBytes(range);
            }
        }

        return content;
    }
}
