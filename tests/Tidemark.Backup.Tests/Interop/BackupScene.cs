using Tidemark.Backup.Definitions;
using Tidemark.Backup.Running;
using Tidemark.Repository;
using Tidemark.Repository.Backends;
using Tidemark.Repository.Crypto;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Interop;

/// <summary>A folder, a repository in it, and a backup service whose state is kept there too.</summary>
internal sealed class BackupScene : IAsyncDisposable
{
    internal const string Password = "tide";

    private readonly TemporaryDirectory _folder = new();

    internal string Folder => _folder.Path;

    internal string RepositoryPath => _folder.File("repo");

    internal List<string> Notes { get; } = [];

    /// <summary>Called when a phase of a run begins.</summary>
    internal Action<string>? OnPhase { get; set; }

    /// <summary>Where scratch files go; null: beside the image.</summary>
    internal string? ScratchDirectory { get; set; }

    /// <summary>The ids of all runs.</summary>
    internal List<string> RunIds { get; } = [];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    internal static RepositoryOptions Options { get; } = new()
    {
        KeyDerivation = new KeyDerivation(1 << 10, 8, 1),
        LockSettleTime = TimeSpan.Zero,
    };

    internal async Task InitializeAsync()
    {
        var repository = await Repository.Repository.InitializeAsync(new LocalBackend(RepositoryPath), Password,
            Options, Token);
        await repository.DisposeAsync();
    }

    internal Task<Repository.Repository> OpenAsync() =>
        Repository.Repository.OpenAsync(new LocalBackend(RepositoryPath), Password, Options, Token);

    internal BackupService Service() => new(new BackupServiceOptions
    {
        StateDirectory = _folder.File("state"),
        ReconnectTimeout = TimeSpan.FromMilliseconds(300),
        NewRunId = () =>
        {
            RunIds.Add(Convert.ToHexStringLower(Guid.NewGuid().ToByteArray().AsSpan(0, 8)));
            return RunIds[^1];
        },
    });

    internal async Task<BackupReport> BackupAsync(
        HypervisorSource source, BackupMode mode, string? nbd = null, bool full = false, CancellationToken? token =
            null,
        params string[] disks)
    {
        await using var repository = await OpenAsync();
        return await Service().RunAsync(
            new BackupRequest
            {
                VmName = "vm",
                Mode = mode,
                Full = full,
                ScratchDirectory = ScratchDirectory,
                NbdUri = mode == BackupMode.Pull ? nbd : null,
                Disks = [.. disks.Select(disk => new DiskSelection(disk))],
            },
            source,
            repository,
            new NoteTaker(this),
            token ?? Token);
    }

    /// <summary>A stored disk's whole content.</summary>
    internal async Task<byte[]> RestoreAsync(string snapshotId, string disk)
    {
        await using var repository = await OpenAsync();
        var snapshot = await repository.FindSnapshotAsync(snapshotId, null, Token);
        var index = await repository.OpenDiskAsync(snapshot, disk, Token);
        var content = new byte[index.Length];
        for (var chunk = 0; chunk < index.Count; chunk++)
        {
            if (!index.IsZero(chunk))
            {
                await repository.ReadChunkAsync(
                    index[chunk], content.AsMemory((int)((long)chunk * index.ChunkSize), index.LengthOf(chunk)), Token);
            }
        }

        return content;
    }

    internal async Task CheckRepositoryAsync()
    {
        if (Tool.Missing("restic") is null)
        {
            var result = await Tool.RunAsync(
                "restic", ["-r", RepositoryPath, "check", "--read-data", "--no-cache"],
                environment: new Dictionary<string, string> { ["RESTIC_PASSWORD"] = Password });
            Assert.True(result.ExitCode == 0, result.Output + result.Error);
        }
    }

    internal IEnumerable<string> Journals() =>
        Directory.Exists(_folder.File("state"))
            ? Directory.EnumerateFiles(_folder.File("state"), "journal", SearchOption.AllDirectories)
            : [];

    public ValueTask DisposeAsync()
    {
        _folder.Dispose();
        return default;
    }

    private sealed class NoteTaker(BackupScene scene) : IBackupProgress
    {
        public void Phase(string text) => scene.OnPhase?.Invoke(text);

        public void Note(string text) => scene.Notes.Add(text);

        public void Report(IReadOnlyList<DiskProgress> disks)
        {
        }
    }
}
