using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Repository.Blobs;
using Tidemark.Repository.Disks;
using Tidemark.Repository.Snapshots;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Repository.Tests.Snapshots;

public sealed class SnapshotTests
{
    private const int Chunk = TestRepository.Chunk;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Snapshots_are_found_by_id_prefix_and_latest_of_a_vm()
    {
        await using var test = await TestRepository.CreateAsync();
        var none =
            await Assert.ThrowsAsync<RepositoryException>(() =>
            test.Repository.FindSnapshotAsync("latest", null, Token));
        Assert.Equal(RepositoryErrorKind.NotFound, none.Kind);

        var made = new List<Snapshot>();
        foreach (var vmName in new[] { "a", "b", "a", "b" })
        {
            await using var writer = await test.Repository.BeginSnapshotAsync(Token);
            writer.AddDisk("disk0", Chunk, Chunk).PutZero(0);
            made.Add(await writer.CommitAsync(test.Describe(vmName) with { Parent = made.LastOrDefault()?.Id }, Token));
        }

        var listed = await test.Repository.ListSnapshotsAsync(Token);
        Assert.Equal(made.Select(static one => one.Id), listed.Select(static one => one.Id));
        Assert.Equal(made.Select(static one => (one.VmName, one.Time, one.Parent)),
            listed.Select(static one => (one.VmName, one.Time, one.Parent)));
        Assert.All(listed, static one => Assert.True(one.IsRestorePoint));
        Assert.Equal(made[3].Id, (await test.Repository.FindSnapshotAsync("latest", null, Token)).Id);
        Assert.Equal(made[2].Id, (await test.Repository.FindSnapshotAsync("latest", "a", Token)).Id);
        foreach (var one in made)
        {
            Assert.Equal(one.Id, (await test.Repository.FindSnapshotAsync(one.Id.ToString(), null, Token)).Id);
            Assert.Equal(one.Id,
                (await test.Repository.FindSnapshotAsync(one.Id.ToString()[..10].ToUpperInvariant(), null, Token)).Id);
        }

        await ThrowsAsync("dead0000beef", null, RepositoryErrorKind.NotFound);
        await ThrowsAsync("latest", "c", RepositoryErrorKind.NotFound);
        await ThrowsAsync(made[0].Id.ToString(), "b", RepositoryErrorKind.NotFound);
        await ThrowsAsync("abc", null, RepositoryErrorKind.Invalid);
        await ThrowsAsync("newest", null, RepositoryErrorKind.Invalid);

        async Task ThrowsAsync(string reference, string? vmName, RepositoryErrorKind kind)
        {
            var error = await Assert.ThrowsAsync<RepositoryException>(
                () => test.Repository.FindSnapshotAsync(reference, vmName, Token));
            Assert.Equal(kind, error.Kind);
        }
    }

    [Fact]
    public async Task Several_disks_and_files_come_back_each_by_its_name()
    {
        await using var test = await TestRepository.CreateAsync();
        var random = new Random(1);
        var disks = new Dictionary<string, byte[]>
        {
            ["vda"] = TestRepository.RandomDisk(random, 5 * Chunk),
            ["#block12 & <more>"] = TestRepository.RandomDisk(random, 3 * Chunk + 512),
            ["empty"] = [],
            ["é"] = TestRepository.RandomDisk(random, 4096),
        };
        var large = new byte[3_000_000];
        random.NextBytes(large);
        await using var writer = await test.Repository.BeginSnapshotAsync(Token);
        foreach (var (name, content) in disks)
        {
            await TestRepository.PutAsync(writer.AddDisk(name, content.Length, Chunk), content);
        }

        Assert.Throws<RepositoryException>(() => writer.AddDisk("vda", 1, Chunk));
        var made = await writer.CommitAsync(test.Describe("my vm") with
        {
            Files = new Dictionary<string,
            ReadOnlyMemory<byte>> { ["tidemark.json"] = large, ["none"] = Array.Empty<byte>() },
        }, Token);

        await using var repository = await test.ReopenAsync();
        Assert.Equal(disks.Keys.Order(),
            (await repository.ListDisksAsync(made, Token)).Select(static disk => disk.Name).Order());
        foreach (var (name, content) in disks)
        {
            Assert.Equal(content, await TestRepository.ReadAsync(repository, made, name));
        }

        Assert.Equal(large, await repository.ReadFileAsync(made, "tidemark.json", Token));
        Assert.Empty(await repository.ReadFileAsync(made, "none", Token));
        Assert.Equal(
            RepositoryErrorKind.NotFound,
            (await Assert.ThrowsAsync<RepositoryException>(() => repository.OpenDiskAsync(made, "vdb", Token))).Kind);
        Assert.Equal(
            RepositoryErrorKind.NotFound,
            (await Assert.ThrowsAsync<RepositoryException>(() => repository.ReadFileAsync(made, "other", Token))).Kind);
    }

    [Fact]
    public async Task The_node_reads_any_range_by_many_readers_and_tells_its_holes()
    {
        await using var test = await TestRepository.CreateAsync();
        var content = TestRepository.RandomDisk(new Random(5), 40 * Chunk + 777);
        var disk = await test.Repository.OpenDiskAsync(await test.BackupAsync(content), "disk0", Token);
        await using var node = new SnapshotNode("node", test.Repository, disk);
        Assert.True(node.IsReadOnly);
        Assert.Equal(content.Length, node.Length);
        await Assert.ThrowsAsync<BlockException>(async () =>
            await node.WriteAsync(0, new byte[1], cancellationToken: Token));

        var extents = new ExtentList();
        await node.GetBlockStatusAsync(100, content.Length - 100, extents, Token);
        Assert.Equal(content.Length - 100, extents.Length);
        Assert.Contains(extents, static extent => extent.IsZero && extent.IsHole);
        foreach (var extent in extents)
        {
            var zero = !content.AsSpan((int)extent.Offset, (int)extent.Length).ContainsAnyExcept((byte)0);
            Assert.True(zero || !extent.IsZero);
        }

        await TestSeed.RunAsync(random =>
            Task.WhenAll(Enumerable.Range(0, 8).Select(_ => random.Next()).ToArray().Select(
            seed => Task.Run(
                async () =>
                {
                    var own = new Random(seed);
                    for (var repeat = 0; repeat < 40; repeat++)
                    {
                        var offset = own.Next(content.Length);
                        var part = new byte[own.Next(Math.Min(4 * Chunk, content.Length - offset) + 1)];
                        await node.ReadAsync(offset, part, Token);
                        Assert.True(part.AsSpan().SequenceEqual(content.AsSpan(offset, part.Length)));
                    }
                },
                Token))));
    }

    [Fact]
    public void A_directory_with_a_million_chunks_comes_back()
    {
        var ids = new BlobId[1_000_000];
        for (var index = 0; index < ids.Length; index++)
        {
            ids[index] = new BlobId([.. BitConverter.GetBytes((long)index), .. new byte[24]]);
        }

        var owner = new TreeOwner(DateTimeOffset.UnixEpoch, "user", 1, 2);
        var node = new TreeNode { Name = "disk0.raw", Type = "file", Size = 1L << 40, Content = ids };
        var json = TreeJson.Encode([node], owner);
        Assert.InRange(json.Length, 67_000_000, 67_001_000);
        var read = Assert.Single(TreeJson.Decode(json.Span, static _ => true, "the tree"));
        Assert.True(read.Content!.Value.Span.SequenceEqual(ids));
        Assert.Equal(1L << 40, read.Size);
        Assert.Null(Assert.Single(TreeJson.Decode(json.Span, static _ => false, "the tree")).Content);
    }

    [Theory]
    [InlineData("plain", "plain")]
    [InlineData("""a\"b\\c""", "a\"b\\c")]
    [InlineData("""tab\tnul\x00e\u00e9\U0001F600""", "tab\tnul\0e\u00e9\U0001F600")]
    [InlineData("""\xc3\xa9""", "é")]
    public void Quoted_names_are_unquoted(string quoted, string name) => Assert.Equal(name, EntryName.Unquote(quoted));

    [Theory]
    [InlineData("2015-01-02T15:04:05.123456789+01:00", "2015-01-02T14:04:05.1234567Z")]
    [InlineData("2015-01-02T15:04:05Z", "2015-01-02T15:04:05Z")]
    [InlineData("2015-01-02T15:04:05.5-11:30", "2015-01-03T02:34:05.5Z")]
    public void Times_are_read_as_Go_writes_them(string text, string again)
    {
        Assert.True(GoTime.TryParse(text, out var time));
        Assert.Equal(again, GoTime.Format(time));
    }
}
