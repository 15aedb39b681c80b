using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Files;

/// <summary>A file of the host as a node: QEMU's <c>file</c> driver. Holes are found by SEEK_DATA and SEEK_HOLE, made by
/// fallocate.</summary>
/// <remarks>I/O is one system call on the caller's thread, so a completed task comes back at once.</remarks>
public sealed class RawFileNode : BlockNode
{
    private readonly SafeFileHandle _file;
    private long _length;
    private volatile bool _canSeekData = true;
    private bool _canPunch = true;
    private bool _canZeroRange = true;

    private RawFileNode(string name, string path, SafeFileHandle file, long length, bool readOnly)
        : base(name)
    {
        Path = path;
        _file = file;
        _length = length;
        IsReadOnly = readOnly;
    }

    /// <summary>The file's path, as it was given.</summary>
    public string Path { get; }

    /// <inheritdoc/>
    public override string Driver => "file";

    /// <inheritdoc/>
    public override long Length => Volatile.Read(ref _length);

    /// <inheritdoc/>
    public override bool IsReadOnly { get; }

    /// <summary>Opens an existing file.</summary>
    /// <exception cref="BlockException">It does not exist, or may not be opened so.</exception>
    public static RawFileNode Open(string name, string path, bool readOnly)
    {
        try
        {
            var access = readOnly ? FileAccess.Read : FileAccess.ReadWrite;
            var file = File.OpenHandle(path, FileMode.Open, access, FileShare.ReadWrite | FileShare.Delete);
            return new RawFileNode(name, path, file, RandomAccess.GetLength(file), readOnly);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw BlockException.FromIo(exception, $"open '{path}'");
        }
    }

    /// <summary>Creates a file of the given size, all holes, readable by its owner only; refuses an existing one.</summary>
    public static RawFileNode Create(string name, string path, long length)
    {
        try
        {
            using (var stream = new FileStream(path, new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.ReadWrite,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            }))
            {
                stream.SetLength(length);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw BlockException.FromIo(exception, $"create '{path}'");
        }

        return Open(name, path, readOnly: false);
    }

    /// <summary>Changes the file's size; new bytes are holes. For formats that grow their file.</summary>
    public void SetLength(long length)
    {
        try
        {
            RandomAccess.SetLength(_file, length);
            Volatile.Write(ref _length, length);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw BlockException.FromIo(exception, $"resize '{Path}' to {length} bytes");
        }
    }

    /// <inheritdoc/>
    public override ValueTask DisposeAsync()
    {
        _file.Dispose();
        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        var span = target.Span;
        try
        {
            while (!span.IsEmpty)
            {
                var count = RandomAccess.Read(_file, span, offset);
                if (count == 0)
                {
                    throw new BlockException(
                        BlockErrorKind.Io, $"'{Path}' ends at {offset}: it was cut while it was open (length {Length})");
                }

                span = span[count..];
                offset += count;
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw BlockException.FromIo(exception, $"read {target.Length} bytes at {offset} of '{Path}'");
        }

        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        try
        {
            RandomAccess.Write(_file, source.Span, offset);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw BlockException.FromIo(exception, $"write {source.Length} bytes at {offset} of '{Path}'");
        }

        return (flags & WriteFlags.ForceUnitAccess) != 0 ? FlushCoreAsync(cancellationToken) : default;
    }

    /// <inheritdoc/>
    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken)
    {
        var done = (flags & WriteFlags.MayUnmap) != 0 && TryAllocate(ref _canPunch, PunchHoleMode, offset, length);
        done = done || TryAllocate(ref _canZeroRange, LinuxFile.ZeroRange | LinuxFile.KeepSize, offset, length);
        if (!done)
        {
            if ((flags & WriteFlags.NoFallback) != 0)
            {
                throw new BlockException(BlockErrorKind.NotSupported, $"the file system of '{Path}' cannot zero a range");
            }

            WriteZeroBytes(offset, length);
        }

        return (flags & WriteFlags.ForceUnitAccess) != 0 ? FlushCoreAsync(cancellationToken) : default;
    }

    /// <inheritdoc/>
    protected override ValueTask DiscardCoreAsync(long offset, long length, CancellationToken cancellationToken)
    {
        TryAllocate(ref _canPunch, PunchHoleMode, offset, length);
        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask FlushCoreAsync(CancellationToken cancellationToken)
    {
        if (LinuxFile.SyncData(_file) != 0)
        {
            var error = Marshal.GetLastPInvokeError();
            throw new BlockException(
                error == LinuxFile.ENOSPC ? BlockErrorKind.NoSpace : BlockErrorKind.Io,
                $"could not flush '{Path}': {Marshal.GetPInvokeErrorMessage(error)}");
        }

        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask ResizeCoreAsync(long length, CancellationToken cancellationToken)
    {
        SetLength(length);
        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask GetBlockStatusCoreAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken)
    {
        var end = offset + length;
        while (offset < end)
        {
            var data = SeekOr(offset, LinuxFile.SeekData, end);
            if (data > offset)
            {
                var holeEnd = Math.Min(data, end);
                extents.Append(offset, holeEnd - offset, ExtentFlags.Hole | ExtentFlags.Zero);
                offset = holeEnd;
                continue;
            }

            var dataEnd = Math.Min(SeekOr(offset, LinuxFile.SeekHole, end), end);
            if (dataEnd <= offset)
            {
                dataEnd = end;
            }

            extents.Append(offset, dataEnd - offset, ExtentFlags.None);
            offset = dataEnd;
        }

        return default;
    }

    private const int PunchHoleMode = LinuxFile.PunchHole | LinuxFile.KeepSize;

    // The offset where data or a hole begins; `end` when there is none, `offset` (data) when the kernel cannot say.
    private long SeekOr(long offset, int whence, long end)
    {
        if (!_canSeekData)
        {
            return whence == LinuxFile.SeekData ? offset : end;
        }

        var found = LinuxFile.Seek(_file, offset, whence);
        if (found >= 0)
        {
            return found;
        }

        if (Marshal.GetLastPInvokeError() == LinuxFile.ENXIO)
        {
            return end;
        }

        _canSeekData = false;
        return whence == LinuxFile.SeekData ? offset : end;
    }

    private bool TryAllocate(ref bool able, int mode, long offset, long length)
    {
        if (!Volatile.Read(ref able))
        {
            return false;
        }

        if (LinuxFile.Allocate(_file, mode, offset, length) == 0)
        {
            return true;
        }

        var error = Marshal.GetLastPInvokeError();
        if (error == LinuxFile.ENOSPC)
        {
            throw new BlockException(BlockErrorKind.NoSpace, $"no space left to zero {length} bytes at {offset} of '{Path}'");
        }

        if (error == LinuxFile.EOPNOTSUPP)
        {
            Volatile.Write(ref able, false);
        }

        return false;
    }

    private void WriteZeroBytes(long offset, long length)
    {
        var zeroes = new byte[Math.Min(length, 1 << 20)];
        try
        {
            while (length > 0)
            {
                var count = (int)Math.Min(length, zeroes.Length);
                RandomAccess.Write(_file, zeroes.AsSpan(0, count), offset);
                offset += count;
                length -= count;
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw BlockException.FromIo(exception, $"write {length} zero bytes at {offset} of '{Path}'");
        }
    }
}
