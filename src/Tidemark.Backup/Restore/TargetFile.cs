using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;
using Tidemark.Blocks.Files;
using Tidemark.Blocks.Nodes;
using Tidemark.Qcow2;

namespace Tidemark.Backup.Restore;

/// <summary>
/// The file of one restored disk. It has a temporary name in its directory until it is whole and durable; then it is
/// renamed. Disposed before that, it is deleted: a failed restore leaves no file that looks whole.
/// </summary>
internal sealed class TargetFile : IAsyncDisposable
{
    private readonly string _path;
    private readonly string _temporaryPath;
    private readonly RawFileNode _file;
    private readonly bool _force;
    private bool _finished;

    private TargetFile(string path, string temporaryPath, RawFileNode file, BlockNode node, bool force)
    {
        _path = path;
        _temporaryPath = temporaryPath;
        _file = file;
        _force = force;
        Node = node;
    }

    /// <summary>The disk to write to; all of it reads as zero.</summary>
    internal BlockNode Node { get; }

    /// <summary>Creates the file under its temporary name.</summary>
    /// <exception cref="BackupException">It exists and may not be replaced.</exception>
    /// <exception cref="BlockException">It cannot be created.</exception>
    internal static async Task<TargetFile> CreateAsync(
        string path, long length, RestoreFormat format, bool force, string suffix, CancellationToken cancellationToken)
    {
        RefuseExisting(path, force);
        var folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        var temporary = Path.Combine(folder, $".{Path.GetFileName(path)}.{suffix}.partial");
        var file = RawFileNode.Create("file", temporary, format == RestoreFormat.Raw ? length : 0);
        try
        {
            BlockNode node = file;
            if (format == RestoreFormat.Qcow2)
            {
                await Qcow2Image.CreateAsync(file, new Qcow2CreateOptions { Length = length }, cancellationToken)
                    .ConfigureAwait(false);
                node = await Qcow2Node.OpenAsync("image", file, new Qcow2OpenOptions(), cancellationToken)
                    .ConfigureAwait(false);
            }

            return new TargetFile(path, temporary, file, node, force);
        }
        catch
        {
            await file.DisposeAsync().ConfigureAwait(false);
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>Makes the file durable and gives it its name.</summary>
    internal async Task FinishAsync(CancellationToken cancellationToken)
    {
        await Node.FlushAsync(cancellationToken).ConfigureAwait(false);
        if (!ReferenceEquals(Node, _file))
        {
            await Node.DisposeAsync().ConfigureAwait(false);
        }

        await _file.FlushAsync(cancellationToken).ConfigureAwait(false);
        await _file.DisposeAsync().ConfigureAwait(false);
        try
        {
            RefuseExisting(_path, _force);
            File.Move(_temporaryPath, _path, overwrite: _force);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new BackupException(
                BackupErrorKind.Target, $"could not give the restored disk its name '{_path}': {exception.Message}",
                    exception);
        }

        _finished = true;
        StateDirectory.FlushDirectory(Path.GetDirectoryName(Path.GetFullPath(_path))!);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_finished)
        {
            return;
        }

        try
        {
            if (!ReferenceEquals(Node, _file))
            {
                await Node.DisposeAsync().ConfigureAwait(false);
            }
        }
        catch (BlockException)
        {
            // It is thrown away; what it could not store does not matter.
        }

        await _file.DisposeAsync().ConfigureAwait(false);
        File.Delete(_temporaryPath);
    }

    private static void RefuseExisting(string path, bool force)
    {
        if (Directory.Exists(path))
        {
            throw new BackupException(BackupErrorKind.Target, $"'{path}' is a directory");
        }

        if (!force && File.Exists(path))
        {
            throw new BackupException(
                BackupErrorKind.Target, $"'{path}' exists and is not overwritten; choose another name, or say --force");
        }
    }
}
