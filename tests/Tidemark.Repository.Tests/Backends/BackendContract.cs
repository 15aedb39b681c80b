using Tidemark.Repository.Backends;
using Tidemark.Repository.Blobs;
using Xunit;

namespace Tidemark.Repository.Tests.Backends;

/// <summary>What every backend must do. A new one gets this suite by deriving from it.</summary>
public abstract class BackendContract
{
    private static readonly byte[] s_content = [.. Enumerable.Range(0, 100_000).Select(static i => (byte)(i * 7))];

    public static TheoryData<BackendFileKind> Kinds => [.. Enum.GetValues<BackendFileKind>()];

    protected static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task What_was_put_is_there_and_can_be_read_in_parts(BackendFileKind kind)
    {
        var backend = await CreateAsync();
        var name = NameFor(kind, 1);
        Assert.Null(await backend.GetLengthAsync(kind, name, Token));
        Assert.True(await backend.PutAsync(kind, name, s_content, Token));
        Assert.Equal(s_content.Length, await backend.GetLengthAsync(kind, name, Token));
        foreach (var (offset, length) in new[] { (0, s_content.Length), (0, 1), (99_999, 1), (12_345, 4096), (5, 0) })
        {
            var part = new byte[length];
            await backend.GetAsync(kind, name, offset, part, Token);
            Assert.True(part.AsSpan().SequenceEqual(s_content.AsSpan(offset, length)));
        }

        Assert.Equal([new BackendFile(name, s_content.Length)], await backend.ListAsync(kind, Token));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task A_name_that_is_taken_stays_as_it_is(BackendFileKind kind)
    {
        var backend = await CreateAsync();
        var name = NameFor(kind, 1);
        Assert.True(await backend.PutAsync(kind, name, s_content, Token));
        Assert.False(await backend.PutAsync(kind, name, new byte[10], Token));
        var read = new byte[s_content.Length];
        await backend.GetAsync(kind, name, 0, read, Token);
        Assert.Equal(s_content, read);
    }

    [Fact]
    public async Task Of_many_that_put_one_name_exactly_one_wins()
    {
        var backend = await CreateAsync();
        var name = NameFor(BackendFileKind.Snapshot, 1);
        var puts = await Task.WhenAll(Enumerable.Range(0, 16).Select(number =>
            backend.PutAsync(BackendFileKind.Snapshot, name, new[] { (byte)number, (byte)number }, Token).AsTask()));
        Assert.Single(puts, won => won);
        var read = new byte[2];
        await backend.GetAsync(BackendFileKind.Snapshot, name, 0, read, Token);
        Assert.Equal(Array.IndexOf(puts, true), read[0]);
        Assert.Equal(read[0], read[1]);
        Assert.Single(await backend.ListAsync(BackendFileKind.Snapshot, Token));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task Deleting_removes_and_does_not_mind_absence(BackendFileKind kind)
    {
        var backend = await CreateAsync();
        var name = NameFor(kind, 1);
        await backend.DeleteAsync(kind, name, Token);
        await backend.PutAsync(kind, name, s_content, Token);
        await backend.DeleteAsync(kind, name, Token);
        Assert.Null(await backend.GetLengthAsync(kind, name, Token));
        Assert.Empty(await backend.ListAsync(kind, Token));
        Assert.True(await backend.PutAsync(kind, name, s_content, Token));
    }

    [Fact]
    public async Task Reading_what_is_not_there_or_too_short_is_an_error()
    {
        var backend = await CreateAsync();
        var name = NameFor(BackendFileKind.Pack, 1);
        var missing = await Assert.ThrowsAsync<RepositoryException>(
            async () => await backend.GetAsync(BackendFileKind.Pack, name, 0, new byte[1], Token));
        Assert.Equal(RepositoryErrorKind.NotFound, missing.Kind);
        await backend.PutAsync(BackendFileKind.Pack, name, s_content, Token);
        var short_ = await Assert.ThrowsAsync<RepositoryException>(
            async () => await backend.GetAsync(BackendFileKind.Pack, name, 99_990, new byte[20], Token));
        Assert.Equal(RepositoryErrorKind.Damaged, short_.Kind);
    }

    [Fact]
    public async Task Kinds_do_not_mix_and_listings_are_complete()
    {
        var backend = await CreateAsync();
        var names = Enumerable.Range(0, 300).Select(number => NameFor(BackendFileKind.Pack, number)).ToHashSet();
        foreach (var name in names)
        {
            await backend.PutAsync(BackendFileKind.Pack, name, new byte[3], Token);
        }

        await backend.PutAsync(BackendFileKind.Index, NameFor(BackendFileKind.Index, 1), new byte[4], Token);
        var packs = await backend.ListAsync(BackendFileKind.Pack, Token);
        Assert.True(names.SetEquals(packs.Select(static file => file.Name)));
        Assert.Single(await backend.ListAsync(BackendFileKind.Index, Token));
        Assert.Empty(await backend.ListAsync(BackendFileKind.Lock, Token));
    }

    [Fact]
    public async Task Creating_twice_changes_nothing()
    {
        var backend = await CreateAsync();
        await backend.PutAsync(BackendFileKind.Config, "config", s_content, Token);
        await backend.CreateAsync(Token);
        Assert.Equal(s_content.Length, await backend.GetLengthAsync(BackendFileKind.Config, "config", Token));
    }

    /// <summary>A new, empty, created backend.</summary>
    protected abstract ValueTask<IBackend> CreateAsync();

    protected static string NameFor(BackendFileKind kind, int number) =>
        kind == BackendFileKind.Config ? "config" : BlobId.Of(BitConverter.GetBytes(number)).ToString();
}
