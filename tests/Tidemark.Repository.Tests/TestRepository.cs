using Tidemark.Repository.Backends;
using Tidemark.Repository.Crypto;
using Tidemark.Repository.Disks;
using Tidemark.Repository.Snapshots;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Repository.Tests;

/// <summary>A repository in a temporary directory, with a cheap key, and the few steps that most tests need.</summary>
internal sealed class TestRepository : IAsyncDisposable
{
    internal const string Password = "a password for tests";
    internal const int Chunk = RepositoryLimits.MinimumChunkSize;

    internal static readonly RepositoryOptions Options = new()
    {
        KeyDerivation = new KeyDerivation(1024, 8, 1),
        LockSettleTime = TimeSpan.Zero,
        Encoders = 2,
    };

    private static readonly DateTimeOffset s_start = new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);

    private readonly TemporaryDirectory _directory = new(inMemory: true);
    private int _snapshots;

    private TestRepository() => Backend = new LocalBackend(Path);

    internal string Path => _directory.File("repo");

    internal LocalBackend Backend { get; }

    internal Repository Repository { get; private set; } = null!;

    internal static async Task<TestRepository> CreateAsync()
    {
        var test = new TestRepository();
        test.Repository = await Repository.InitializeAsync(test.Backend, Password, Options);
        return test;
    }

    internal string File(string name) => _directory.File(name);

    internal Task<Repository> ReopenAsync(IBackend? backend = null) =>
        Repository.OpenAsync(backend ?? Backend, Password, Options, TestContext.Current.CancellationToken);

    /// <summary>Stores a disk; chunks that equal the parent's content are inherited.</summary>
    internal async Task<Snapshot> BackupAsync(
        byte[] content, DiskIndex? parent = null, byte[]? parentContent = null, Repository? repository = null)
    {
        await using var writer = await (repository ?? Repository).BeginSnapshotAsync();
        return await BackupAsync(writer, content, parent, parentContent);
    }

    internal async Task<Snapshot> BackupAsync(
        SnapshotWriter writer, byte[] content, DiskIndex? parent = null, byte[]? parentContent = null)
    {
        var disk = writer.AddDisk("disk0", content.Length, Chunk, parent);
        await PutAsync(disk, content, parentContent);
        return await writer.CommitAsync(Describe());
    }

    internal static async Task PutAsync(DiskWriter disk, byte[] content, byte[]? parentContent = null)
    {
        for (var index = 0; index < disk.Count; index++)
        {
            var chunk = content.AsMemory(index * disk.ChunkSize, disk.LengthOf(index));
            var same = parentContent is not null && parentContent.Length >= index * disk.ChunkSize + chunk.Length
                && parentContent.AsSpan(index * disk.ChunkSize, chunk.Length).SequenceEqual(chunk.Span);
            if (same && disk.CanInherit(index, out _))
            {
                disk.Inherit(index);
            }
            else
            {
                await disk.PutChunkAsync(index, chunk);
            }
        }
    }

    internal SnapshotDescription Describe(string vmName = "vm1") => new()
    {
        VmName = vmName,
        Time = s_start.AddMinutes(_snapshots++),
        Files = new Dictionary<string, ReadOnlyMemory<byte>> { ["tidemark.json"] = "{\"a\":1}"u8.ToArray() },
    };

    internal static async Task<byte[]> ReadAsync(Repository repository, Snapshot snapshot, string disk = "disk0")
    {
        var index = await repository.OpenDiskAsync(snapshot, disk);
        await using var node = new SnapshotNode("restore", repository, index);
        var content = new byte[node.Length];
        await node.ReadAsync(0, content);
        return content;
    }

    internal static byte[] RandomDisk(Random random, int length)
    {
        // A third each of random, compressible and zero chunks.
        var content = new byte[length];
        for (var offset = 0; offset < length; offset += Chunk)
        {
            var chunk = content.AsSpan(offset, Math.Min(Chunk, length - offset));
            switch (random.Next(3))
            {
                case 0:
                    random.NextBytes(chunk);
                    break;
                case 1:
                    chunk.Fill((byte)random.Next(256));
                    random.NextBytes(chunk[..Math.Min(16, chunk.Length)]);
                    break;
            }
        }

        return content;
    }

    internal async Task<ToolResult> ResticAsync(params string[] arguments) => await Tool.RunAsync(
        "restic",
        ["--no-cache", "-q", "-r", Path, .. arguments],
        environment: new Dictionary<string, string> { ["RESTIC_PASSWORD"] = Password });

    internal async Task<string> ResticOkAsync(params string[] arguments)
    {
        var result = await ResticAsync(arguments);
        Assert.True(result.ExitCode == 0, $"restic {string.Join(' ', arguments)}: {result.Error}{result.Output}");
        return result.Output + result.Error;
    }

    public async ValueTask DisposeAsync()
    {
        await Repository.DisposeAsync();
        _directory.Dispose();
    }
}
