using Microsoft.Win32.SafeHandles;

namespace Tidemark.Backup.Transfer;

/// <summary>
/// Where half-assembled chunks wait that do not fit in memory: a sparse file without a name, readable by nobody else,
/// that the kernel frees with the process.
/// </summary>
internal sealed class SpillFile : IDisposable
{
    private readonly string _folder;
    private SafeFileHandle? _file;

    /// <summary>Creates it; the file itself is made when it is first needed.</summary>
    internal SpillFile(string folder) => _folder = folder;

    /// <inheritdoc/>
    public void Dispose() => _file?.Dispose();

    internal void Write(long offset, ReadOnlySpan<byte> content) => RandomAccess.Write(Open(), content, offset);

    internal void Read(long offset, Span<byte> target)
    {
        var file = Open();
        while (!target.IsEmpty)
        {
            var count = RandomAccess.Read(file, target, offset);
            if (count == 0)
            {
                throw new IOException($"the spill file ends at {offset}");
            }

            target = target[count..];
            offset += count;
        }
    }

    private SafeFileHandle Open()
    {
        if (_file is null)
        {
            var path = Path.Combine(_folder, $"spill-{Guid.NewGuid():N}");
            var stream = new FileStream(path, new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.ReadWrite,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            });
            File.Delete(path);
            _file = stream.SafeFileHandle;
        }

        return _file;
    }
}
