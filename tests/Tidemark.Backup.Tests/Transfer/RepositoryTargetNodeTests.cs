using Tidemark.Backup.Definitions;
using Tidemark.Backup.Tests.Interop;
using Tidemark.Backup.Transfer;
using Tidemark.Repository.Disks;
using Tidemark.Repository.Snapshots;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Transfer;

public sealed class RepositoryTargetNodeTests
{
    private const int ChunkSize = 64 << 10;
    private const int Length = 12 * ChunkSize + 5000;
    private const int Granularity = 16 << 10;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Random writes, zeroes and reads against a plain array, with few chunks open: all are spilled, completed
    /// from the parent, re-opened.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(64)]
    public Task Random_writes_make_the_disk_that_a_plain_array_is(int openLimit) => TestSeed.RunAsync(async random =>
    {
        await using var scene = new BackupScene();
        await scene.InitializeAsync();
        var model = new byte[Length];
        random.NextBytes(model.AsSpan(ChunkSize * 2, ChunkSize * 5));
        var first = await CommitAsync(scene, null, null, openLimit, async target =>
        {
            // A whole disk, in pieces of random sizes and in a random order.
            foreach (var (offset, length) in Pieces(random, Length))
            {
                await target.WriteAsync(offset, model.AsMemory(offset, length), cancellationToken: Token);
            }
        });
        Assert.Equal(model, await scene.RestoreAsync(first, "vda"));

        var second = await CommitAsync(scene, first, 0, openLimit, async target =>
        {
            for (var round = 0; round < 60; round++)
            {
                var offset = random.Next(Length);
                var length = Math.Min(random.Next(1, 3 * ChunkSize), Length - offset);
                switch (random.Next(3))
                {
                    case 0:
                        model.AsSpan(offset, length).Clear();
                        await target.WriteZeroesAsync(offset, length, cancellationToken: Token);
                        break;
                    case 1:
                        random.NextBytes(model.AsSpan(offset, length));
                        await target.WriteAsync(offset, model.AsMemory(offset, length), cancellationToken: Token);
                        break;
                    default:
                        var read = new byte[length];
                        await target.ReadAsync(offset, read, Token);
                        Assert.Equal(model.AsSpan(offset, length).ToArray(), read);
                        break;
                }
            }
        });
        Assert.Equal(model, await scene.RestoreAsync(second, "vda"));
        Assert.Equal(first, (await ParentOf(scene, second)));
    });

    [Fact]
    public async Task Parallel_writes_into_the_same_chunks_are_all_kept()
    {
        await using var scene = new BackupScene();
        await scene.InitializeAsync();
        var model = new byte[Length];
        new Random(3).NextBytes(model);
        var id = await CommitAsync(scene, null, null, 2, target => Parallel.ForEachAsync(
            Pieces(new Random(4), Length), Token, async (piece, token) =>
                await target.WriteAsync(piece.Offset, model.AsMemory(piece.Offset, piece.Length),
                    cancellationToken: token)));
        Assert.Equal(model, await scene.RestoreAsync(id, "vda"));
    }

    /// <summary>The test that would catch a lost cluster of a whole read.</summary>
    [Fact]
    public async Task A_whole_disk_of_which_a_byte_is_missing_is_refused()
    {
        await using var scene = new BackupScene();
        await scene.InitializeAsync();
        var error = await Assert.ThrowsAsync<BackupException>(() => CommitAsync(scene, null, null, 4, async target =>
        {
            await target.WriteZeroesAsync(0, 5 * ChunkSize + 100, cancellationToken: Token);
            await target.WriteZeroesAsync(5 * ChunkSize + 101, Length - (5 * ChunkSize + 101),
                cancellationToken: Token);
        }));
        Assert.Equal(BackupErrorKind.Transfer, error.Kind);
    }

    /// <summary>The test that would catch a lost cluster of an increment.</summary>
    [Fact]
    public async Task An_increment_with_fewer_bytes_than_its_bitmap_counted_is_refused()
    {
        await using var scene = new BackupScene();
        await scene.InitializeAsync();
        var first = await CommitAsync(scene, null, null, 4, async target =>
            await target.WriteZeroesAsync(0, Length, cancellationToken: Token));
        var error = await Assert.ThrowsAsync<BackupException>(() => CommitAsync(scene, first, 2 * ChunkSize, 4,
            async target =>
        {
            await target.WriteAsync(0, new byte[ChunkSize], cancellationToken: Token);
            await target.WriteAsync(0, new byte[ChunkSize], cancellationToken: Token);
        }));
        Assert.Equal(BackupErrorKind.Transfer, error.Kind);
    }

    /// <summary>A bitmap counts its last granule whole, although the disk ends inside it.</summary>
    [Theory]
    [InlineData(true, true)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    public async Task The_last_granule_counts_whole_when_its_end_arrived(bool first, bool last)
    {
        await using var scene = new BackupScene();
        await scene.InitializeAsync();
        var parent = await CommitAsync(scene, null, null, 4, async target =>
            await target.WriteZeroesAsync(0, Length, cancellationToken: Token));
        var task = CommitAsync(scene, parent, 2 * Granularity, 4, async target =>
        {
            if (first)
            {
                await target.WriteAsync(0, new byte[Granularity], cancellationToken: Token);
            }

            if (last)
            {
                await target.WriteAsync(Length - 5000, new byte[5000], cancellationToken: Token);
            }
        });
        if (first && last)
        {
            await task;
            return;
        }

        Assert.Equal(BackupErrorKind.Transfer, (await Assert.ThrowsAsync<BackupException>(() => task)).Kind);
    }

    private static List<(int Offset, int Length)> Pieces(Random random, int length)
    {
        List<(int Offset, int Length)> pieces = [];
        for (var offset = 0; offset < length;)
        {
            var count = Math.Min(random.Next(1, 2 * ChunkSize), length - offset);
            pieces.Add((offset, count));
            offset += count;
        }

        random.Shuffle(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(pieces));
        return pieces;
    }

    private static async Task<string> CommitAsync(
        BackupScene scene, string? parent, long? expected, int openLimit, Func<RepositoryTargetNode, Task> write)
    {
        await using var repository = await scene.OpenAsync();
        await using var writer = await repository.BeginSnapshotAsync(Token);
        Snapshot? older = null;
        DiskIndex? index = null;
        if (parent is not null)
        {
            older = await repository.FindSnapshotAsync(parent, null, Token);
            index = await repository.OpenDiskAsync(older, "vda", Token);
        }

        var disk = writer.AddDisk("vda", Length, ChunkSize, index);
        await using (var target = new RepositoryTargetNode(
            "target", disk, index is null ? null : new ParentChunks(repository, index), scene.Folder,
                new TransferCounters(), openLimit))
        {
            await write(target);
            await target.CompleteAsync(expected ?? 0, Granularity, Token);
        }

        var snapshot = await writer.CommitAsync(
            new SnapshotDescription { VmName = "vm", Time = DateTimeOffset.UnixEpoch, Parent = older?.Id }, Token);
        return snapshot.Id.ToString();
    }

    private static async Task<string?> ParentOf(BackupScene scene, string id)
    {
        await using var repository = await scene.OpenAsync();
        return (await repository.FindSnapshotAsync(id, null, Token)).Parent?.ToString();
    }
}
