using Tidemark.Repository.Backends;
using Tidemark.Repository.Blobs;
using Tidemark.Repository.Crypto;
using Xunit;

namespace Tidemark.Repository.Tests.Crypto;

public sealed class KeyTests
{
    [Fact]
    public async Task A_wrong_password_is_told_from_a_damaged_key_file()
    {
        await using var test = await TestRepository.CreateAsync();
        var wrong = await Assert.ThrowsAsync<RepositoryException>(() => Open(test, "another"));
        Assert.Equal(RepositoryErrorKind.WrongPassword, wrong.Kind);

        var key = Directory.GetFiles(Path.Combine(test.Path, "keys")).Single();
        Damage.Flip(key, 40);
        var damaged = await Assert.ThrowsAsync<RepositoryException>(() => Open(test, TestRepository.Password));
        Assert.Equal(RepositoryErrorKind.Damaged, damaged.Kind);
        Assert.Contains(Path.GetFileName(key), damaged.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Any_of_several_keys_opens()
    {
        await using var test = await TestRepository.CreateAsync();
        var name = (await test.Backend.ListAsync(BackendFileKind.Key, Token)).Single();
        var first = new byte[name.Length];
        await test.Backend.GetAsync(BackendFileKind.Key, name.Name, 0, first, Token);
        var master = KeyFile.TryOpen(first, TestRepository.Password, "the key")!;
        var second = KeyFile.Encode(
            master, "second", new KeyDerivation(2048, 8, 2), "host", "user", DateTimeOffset.UnixEpoch);
        await test.Backend.PutAsync(BackendFileKind.Key, BlobId.Of(second).ToString(), second, Token);

        await using var byFirst = await Open(test, TestRepository.Password);
        await using var bySecond = await Open(test, "second");
        Assert.Equal(byFirst.Id, bySecond.Id);
        Assert.Equal(
            RepositoryErrorKind.WrongPassword,
            (await Assert.ThrowsAsync<RepositoryException>(() => Open(test, "third"))).Kind);
    }

    [Theory]
    [InlineData(3, 8, 1)]
    [InlineData(1 << 24, 8, 1)]
    [InlineData(1024, 0, 1)]
    [InlineData(1024, 8, 1000)]
    public void Absurd_costs_are_refused(int n, int r, int p)
    {
        var error =
            Assert.Throws<RepositoryException>(() => new KeyDerivation(n, r, p).Derive("a", new byte[64], "the key"));
        Assert.Equal(RepositoryErrorKind.Damaged, error.Kind);
    }

    // RFC 7914, section 12: the test vector with N=1024, r=8, p=16.
    [Fact]
    public void The_derivation_is_scrypt()
    {
        var key = new KeyDerivation(1024, 8, 16).Derive("password", "NaCl"u8.ToArray(), "the key");
        Assert.Equal(
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162",
            Convert.ToHexStringLower(key.Encryption));
        Assert.Equal("2eaf30d92e22a3886ff109279d9830da", Convert.ToHexStringLower(key.MacK));
    }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private static Task<Repository> Open(TestRepository test, string password) =>
        Repository.OpenAsync(new LocalBackend(test.Path), password, TestRepository.Options);
}
