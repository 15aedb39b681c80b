using Tidemark.Repository.Backends;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Repository.Tests.Backends;

public sealed class LocalBackendTests : BackendContract, IDisposable
{
    private readonly TemporaryDirectory _directory = new(inMemory: true);

    private string Root => _directory.File("repo");

    public void Dispose() => _directory.Dispose();

    [Fact]
    public async Task Files_have_restics_places_and_modes()
    {
        var backend = await CreateAsync();
        var name = NameFor(BackendFileKind.Pack, 1);
        await backend.PutAsync(BackendFileKind.Pack, name, new byte[1], Token);
        var path = Path.Combine(Root, "data", name[..2], name);
        Assert.Equal(UnixFileMode.UserRead, File.GetUnixFileMode(path));
        Assert.Equal(
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute,
            File.GetUnixFileMode(Path.GetDirectoryName(path)!));
        Assert.Equal(256, Directory.GetDirectories(Path.Combine(Root, "data")).Length);
        foreach (var folder in new[] { "index", "keys", "locks", "snapshots" })
        {
            Assert.True(Directory.Exists(Path.Combine(Root, folder)));
        }
    }

    [Fact]
    public async Task Leftovers_of_killed_puts_are_not_listed_and_can_be_removed()
    {
        var backend = await CreateAsync();
        var name = NameFor(BackendFileKind.Pack, 1);
        var leftover = Path.Combine(Root, "data", name[..2], name + "-tmp-0123");
        await File.WriteAllBytesAsync(leftover, new byte[5], Token);
        Assert.Empty(await backend.ListAsync(BackendFileKind.Pack, Token));
        await backend.RemoveLeftoversAsync(Token);
        Assert.False(File.Exists(leftover));
    }

    [Fact]
    public async Task A_missing_folder_is_made_again()
    {
        var backend = await CreateAsync();
        var name = NameFor(BackendFileKind.Pack, 1);
        Directory.Delete(Path.Combine(Root, "data", name[..2]));
        Assert.True(await backend.PutAsync(BackendFileKind.Pack, name, new byte[1], Token));
    }

    [Theory]
    [InlineData("../../etc/passwd")]
    [InlineData("")]
    [InlineData("ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789")]
    public async Task Names_that_are_no_digests_are_refused(string name)
    {
        var backend = await CreateAsync();
        await Assert.ThrowsAsync<ArgumentException>(
            async () => await backend.PutAsync(BackendFileKind.Pack, name, new byte[1], Token));
    }

    [Fact]
    [Trait("Category", "Interop")]
    public async Task A_full_file_system_is_named_and_leaves_no_half_file()
    {
        var mount = _directory.File("small");
        Directory.CreateDirectory(mount);
        Assert.SkipWhen(Tool.Missing("mount", "umount") is not null, "mount is not installed");
        var mounted = await Tool.RunAsync("mount", ["-t", "tmpfs", "-o", "size=2m", "tmpfs", mount]);
        Assert.SkipWhen(mounted.ExitCode != 0, $"no small file system can be mounted here: {mounted.Error}");
        try
        {
            var backend = new LocalBackend(Path.Combine(mount, "repo"));
            await backend.CreateAsync(Token);
            var full = await Assert.ThrowsAsync<RepositoryException>(async () =>
                await backend.PutAsync(BackendFileKind.Pack, NameFor(BackendFileKind.Pack, 1), new byte[4 << 20],
                    Token));
            Assert.Equal(RepositoryErrorKind.NoSpace, full.Kind);
            Assert.Empty(Directory.GetFiles(Path.Combine(mount, "repo", "data"), "*", SearchOption.AllDirectories));
            Assert.True(
                await backend.PutAsync(BackendFileKind.Pack, NameFor(BackendFileKind.Pack, 1), new byte[1 << 20],
                    Token));
        }
        finally
        {
            await Tool.RunOkAsync("umount", mount);
        }
    }

    protected override async ValueTask<IBackend> CreateAsync()
    {
        var backend = new LocalBackend(Root);
        await backend.CreateAsync(Token);
        return backend;
    }
}
