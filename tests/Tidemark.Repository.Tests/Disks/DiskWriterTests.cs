using Tidemark.Repository.Disks;
using Xunit;

namespace Tidemark.Repository.Tests.Disks;

public sealed class DiskWriterTests
{
    private const int Chunk = TestRepository.Chunk;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Complete_refuses_while_a_chunk_is_undecided()
    {
        await using var test = await TestRepository.CreateAsync();
        await using var writer = await test.Repository.BeginSnapshotAsync(Token);
        var disk = writer.AddDisk("disk0", 3 * Chunk, Chunk);
        disk.PutZero(0);
        await disk.PutChunkAsync(2, Filled(1), Token);
        var error = await Assert.ThrowsAsync<RepositoryException>(async () => await disk.CompleteAsync(Token));
        Assert.Equal(RepositoryErrorKind.Incomplete, error.Kind);
        Assert.Contains("chunk 1", error.Message, StringComparison.Ordinal);
        await Assert.ThrowsAsync<RepositoryException>(() => writer.CommitAsync(test.Describe(), Token));
        Assert.Empty(Damage.Files(test, "snapshots"));

        disk.PutZero(1);
        await disk.CompleteAsync(Token);
        Assert.Throws<InvalidOperationException>(() => disk.PutZero(1));
    }

    [Fact]
    public async Task A_chunk_is_inherited_only_where_the_parent_has_the_same_one()
    {
        await using var test = await TestRepository.CreateAsync();
        var content = new byte[3 * Chunk + 512];
        new Random(1).NextBytes(content);
        var parent = await test.Repository.OpenDiskAsync(await test.BackupAsync(content), "disk0", Token);

        await using var writer = await test.Repository.BeginSnapshotAsync(Token);
        Refused(writer.AddDisk("alone", content.Length, Chunk), 0, "no parent");
        Refused(writer.AddDisk("other", content.Length, 2 * Chunk, parent), 0, "chunks");
        var grown = writer.AddDisk("grown", 6 * Chunk, Chunk, parent);
        Refused(grown, 3, "bytes in the parent"); // the parent's last, short chunk
        Refused(grown, 4, "ends before");
        grown.Inherit(2);
        grown.Inherit(2);

        static void Refused(DiskWriter disk, int index, string why)
        {
            var error = Assert.Throws<RepositoryException>(() => disk.Inherit(index));
            Assert.Equal(RepositoryErrorKind.Invalid, error.Kind);
            Assert.Contains(why, error.Message, StringComparison.Ordinal);
            Assert.False(disk.IsDecided(index));
        }
    }

    [Fact]
    public async Task Content_beats_inheritance_and_never_the_other_way_round()
    {
        await using var test = await TestRepository.CreateAsync();
        var content = new byte[2 * Chunk];
        new Random(1).NextBytes(content);
        var parent = await test.Repository.OpenDiskAsync(await test.BackupAsync(content), "disk0", Token);

        await using var writer = await test.Repository.BeginSnapshotAsync(Token);
        var disk = writer.AddDisk("disk0", content.Length, Chunk, parent);
        disk.Inherit(0);
        await disk.PutChunkAsync(0, Filled(7), Token);
        disk.PutZero(1);
        Assert.Throws<RepositoryException>(() => disk.Inherit(0));
        Assert.Throws<RepositoryException>(() => disk.Inherit(1));
        var made = await writer.CommitAsync(test.Describe(), Token);
        var read = await TestRepository.ReadAsync(test.Repository, made);
        Assert.Equal((byte[])[.. Filled(7), .. new byte[Chunk]], read);
        Assert.Equal(new DiskWriteCounters(1, 0, 1, 0, 0, disk.Counters.BytesStored), disk.Counters);
    }

    [Fact]
    public async Task The_last_put_wins_by_the_order_of_the_calls()
    {
        await using var test = await TestRepository.CreateAsync();
        await using var writer = await test.Repository.BeginSnapshotAsync(Token);
        var disk = writer.AddDisk("disk0", 4 * Chunk, Chunk);
        var random = new Random(2);
        for (var index = 0; index < 4; index++)
        {
            // What is slow to encode comes first, what is fast comes last.
            for (var repeat = 0; repeat < 50; repeat++)
            {
                var slow = new byte[Chunk];
                random.NextBytes(slow);
                await disk.PutChunkAsync(index, slow, Token);
                disk.PutZero(index);
                await disk.PutChunkAsync(index, Filled((byte)repeat), Token);
            }
        }

        disk.PutZero(3);
        var read = new byte[Chunk];
        await disk.ReadChunkAsync(1, read, Token);
        Assert.Equal(Filled(49), read);
        await disk.ReadChunkAsync(3, read, Token);
        Assert.Equal(new byte[Chunk], read);
        var made = await writer.CommitAsync(test.Describe(), Token);
        var whole = await TestRepository.ReadAsync(test.Repository, made);
        Assert.Equal((byte[])[.. Filled(49), .. Filled(49), .. Filled(49), .. new byte[Chunk]], whole);
    }

    [Fact]
    public async Task A_chunk_can_be_read_back_before_and_after_its_pack_is_stored()
    {
        await using var test = await TestRepository.CreateAsync();
        await using var writer = await test.Repository.BeginSnapshotAsync(Token);
        var content = new byte[400 * Chunk]; // 25 MiB: one pack is stored, one is open
        new Random(3).NextBytes(content);
        var disk = writer.AddDisk("disk0", content.Length, Chunk);
        await Assert.ThrowsAsync<RepositoryException>(async () => await disk.ReadChunkAsync(0, new byte[Chunk], Token));
        await TestRepository.PutAsync(disk, content);
        for (var index = 0; index < disk.Count; index += 13)
        {
            var read = new byte[Chunk];
            await disk.ReadChunkAsync(index, read, Token);
            Assert.True(read.AsSpan().SequenceEqual(content.AsSpan(index * Chunk, Chunk)), $"chunk {index}");
        }
    }

    [Fact]
    public async Task Zeroes_are_stored_once_and_known_content_not_at_all()
    {
        await using var test = await TestRepository.CreateAsync();
        await using (var writer = await test.Repository.BeginSnapshotAsync(Token))
        {
            var disk = writer.AddDisk("disk0", 1000L * Chunk + 512, Chunk);
            for (var index = 0; index < disk.Count; index++)
            {
                await disk.PutChunkAsync(index, new byte[disk.LengthOf(index)], Token);
            }

            await disk.CompleteAsync(Token);
            Assert.Equal(1001, disk.Counters.Zero);
            Assert.InRange(disk.Counters.BytesStored, 1, 1000);
            var made = await writer.CommitAsync(test.Describe(), Token);
            var read = await TestRepository.ReadAsync(test.Repository, made);
            Assert.Equal(1000L * Chunk + 512, read.Length);
            Assert.Equal(-1, read.AsSpan().IndexOfAnyExcept((byte)0));
        }

        await using (var writer = await test.Repository.BeginSnapshotAsync(Token))
        {
            var disk = writer.AddDisk("disk0", 2 * Chunk, Chunk);
            await disk.PutChunkAsync(0, Filled(9), Token);
            await disk.PutChunkAsync(1, Filled(9), Token);
            await disk.CompleteAsync(Token);
            Assert.Equal((1, 1), (disk.Counters.New, disk.Counters.Known));
        }
    }

    [Theory]
    [InlineData(Chunk - 1)]
    [InlineData(Chunk / 2)]
    [InlineData(16 << 20)]
    [InlineData(3 * Chunk)]
    public async Task Chunk_sizes_out_of_bounds_are_refused(int chunkSize)
    {
        await using var test = await TestRepository.CreateAsync();
        await using var writer = await test.Repository.BeginSnapshotAsync(Token);
        var error = Assert.Throws<RepositoryException>(() => writer.AddDisk("disk0", 1 << 20, chunkSize));
        Assert.Equal(RepositoryErrorKind.Invalid, error.Kind);
    }

    [Theory]
    [InlineData("")]
    [InlineData("..")]
    [InlineData("a/b")]
    [InlineData("a\"b")]
    [InlineData("a\nb")]
    public async Task Names_that_are_no_file_names_are_refused(string name)
    {
        await using var test = await TestRepository.CreateAsync();
        await using var writer = await test.Repository.BeginSnapshotAsync(Token);
        Assert.Throws<RepositoryException>(() => writer.AddDisk(name, 1 << 20));
        await Assert.ThrowsAsync<RepositoryException>(() => writer.CommitAsync(test.Describe(name), Token));
    }

    private static byte[] Filled(byte value)
    {
        var chunk = new byte[Chunk];
        chunk.AsSpan().Fill((byte)(value + 1));
        return chunk;
    }
}
