using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Blocks.Files;

/// <summary>A file of the host as a node: QEMU's <c>file</c> driver. Holes are found by SEEK_DATA and SEEK_HOLE, made
/// by fallocate.</summary>
/// <remarks>I/O is one system call on the caller's thread, so a completed task comes back at once.</remarks>
public sealed class RawFileNode : BlockNode
{
    private static readonly byte[] s_zeroes = new byte[256 << 10];

    private readonly bool _withoutFlush;

    // Changed only inside a drained section.
    private volatile SafeFileHandle _file;
    private volatile RawFileOptions _options;
    private long _length;
    private volatile bool _canSeekData = true;
    private bool _canPunch = true;
    private bool _canZeroRange = true;

    private RawFileNode(string name, string path, SafeFileHandle file, long length, RawFileOptions options)
        : base(name)
    {
        _withoutFlush = options.WithoutFlush;
        Path = path;
        _file = file;
        _length = length;
        _options = options;
    }

    /// <summary>The file's path, as it was given.</summary>
    public string Path { get; }

    /// <inheritdoc/>
    public override string Driver => "file";

    /// <inheritdoc/>
    public override long Length => Volatile.Read(ref _length);

    /// <inheritdoc/>
    public override bool IsReadOnly => _options.ReadOnly;

    /// <summary>Whether nobody writes to the file while it is open: neither this node, nor another who keeps to the
    /// locks.</summary>
    public bool IsUnchanging => _options is { ReadOnly: true, Locking: true, ForceShare: false };

    /// <summary>How many bytes of storage the file takes at this moment; null when that cannot be asked.</summary>
    public long? AllocatedLength => LinuxFile.AllocatedLength(_file);

    /// <summary>Opens an existing file or block device with QEMU's image locks.</summary>
    /// <exception cref="BlockException">It does not exist, may not be opened so, or is locked by somebody
    /// else.</exception>
    public static RawFileNode Open(string name, string path, bool readOnly) =>
        Open(name, path, new RawFileOptions { ReadOnly = readOnly });

    /// <summary>Opens an existing file or block device.</summary>
    /// <remarks>
    /// A reader lets others read, but not write or resize (unless <see cref="RawFileOptions.ForceShare"/>): so a
    /// backing file is shared by any number of readers, and a writer elsewhere is refused. A writer lets
    /// nobody else write, and lets those read who allow writing.
    /// </remarks>
    /// <exception cref="BlockException">It does not exist, may not be opened so, or is locked by somebody
    /// else.</exception>
    public static RawFileNode Open(string name, string path, RawFileOptions options)
    {
        RefuseWritesThatAreShared(options);
        if (Directory.Exists(path))
        {
            throw new BlockException(BlockErrorKind.Invalid, $"could not open '{path}': it is a directory");
        }

        SafeFileHandle? file = null;
        try
        {
            file = OpenHandle(path, options.ReadOnly);
            if (options.Locking)
            {
                ImageLock.Acquire(file, path, LocksOf(options));
            }

            return new RawFileNode(name, path, file, MeasureLength(file, path), options);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            file?.Dispose();
            throw BlockException.FromIo(exception, $"open '{path}'");
        }
        catch
        {
            file?.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Creates a file of the given size, all holes, readable by its owner only; refuses an existing one.
    /// </summary>
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
        catch (ArgumentOutOfRangeException exception)
        {
            File.Delete(path);
            throw TooLarge(exception, path, length);
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
        catch (ArgumentOutOfRangeException exception)
        {
            throw TooLarge(exception, Path, length);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw BlockException.FromIo(exception, $"resize '{Path}' to {length} bytes");
        }
    }

    // EFBIG, which the class library takes for a wrong argument.
    private static BlockException TooLarge(Exception inner, string path, long length) => new(
        BlockErrorKind.NoSpace,
        $"could not make '{path}' {length} bytes long: the file would be too large for its file system, or for what "
        + "the process may write",
        inner);

    /// <inheritdoc/>
    public override ValueTask DisposeAsync()
    {
        Close(_file, _options);
        return default;
    }

    /// <inheritdoc/>
    protected override ValueTask SetReadOnlyCoreAsync(bool readOnly)
    {
        var options = _options with { ReadOnly = readOnly };
        RefuseWritesThatAreShared(options);
        SafeFileHandle? file = null;
        try
        {
            // By the descriptor: what bears the path now may be another file.
            file = OpenHandle($"/proc/self/fd/{_file.DangerousGetHandle()}", readOnly);
            if (options.Locking)
            {
                ImageLock.Move(_file, LocksOf(_options), file, LocksOf(options), Path);
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            file?.Dispose();
            throw BlockException.FromIo(exception, $"open '{Path}' for {(readOnly ? "reading" : "writing")}");
        }
        catch
        {
            file?.Dispose();
            throw;
        }

        var before = (_file, _options);
        (_file, _options) = (file, options);
        Close(before._file, before._options);
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
                        BlockErrorKind.Io,
                        $"'{Path}' ends at {offset}: it was cut while it was open (length {Length})");
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
                throw new BlockException(
                    BlockErrorKind.NotSupported, $"the file system of '{Path}' cannot zero a range");
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
        if (!_withoutFlush && LinuxFile.SyncData(_file) != 0)
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

    private static SafeFileHandle OpenHandle(string path, bool readOnly) => File.OpenHandle(
        path, FileMode.Open, readOnly ? FileAccess.Read : FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);

    private static void RefuseWritesThatAreShared(RawFileOptions options)
    {
        if (options is { ForceShare: true, ReadOnly: false })
        {
            throw new BlockException(BlockErrorKind.Invalid, "force-share=on can only be used with read-only images");
        }
    }

    private static (ImagePermissions Used, ImagePermissions Shared) LocksOf(RawFileOptions options) => (
        options.ReadOnly
            ? ImagePermissions.ConsistentRead
            : ImagePermissions.ConsistentRead | ImagePermissions.Write | ImagePermissions.Resize,
        options.ForceShare
            ? ImagePermissions.All
            : ImagePermissions.ConsistentRead | ImagePermissions.WriteUnchanged);

    private static void Close(SafeFileHandle file, RawFileOptions options)
    {
        if (options.Locking && !file.IsClosed)
        {
            ImageLock.Release(file);
        }

        file.Dispose();
    }

    // By the end's offset, not by the file's attributes: those say nothing of a block device.
    private static long MeasureLength(SafeFileHandle file, string path)
    {
        var length = LinuxFile.Seek(file, 0, LinuxFile.SeekEnd);
        if (length >= 0)
        {
            return length;
        }

        var why = Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError());
        throw new BlockException(BlockErrorKind.NotSupported, $"could not open '{path}': it has no length ({why})");
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
            throw new BlockException(
                BlockErrorKind.NoSpace, $"no space left to zero {length} bytes at {offset} of '{Path}'");
        }

        if (error == LinuxFile.EOPNOTSUPP)
        {
            Volatile.Write(ref able, false);
        }

        return false;
    }

    private void WriteZeroBytes(long offset, long length)
    {
        ReadOnlySpan<byte> zeroes = s_zeroes;
        try
        {
            while (length > 0)
            {
                var count = (int)Math.Min(length, zeroes.Length);
                RandomAccess.Write(_file, zeroes[..count], offset);
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
