using System.Numerics;
using System.Text;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Server;

/// <summary>One disk under a name: a root of the block graph together with what clients may ask of it.</summary>
/// <remarks>The backend is the creator's until <see cref="NbdServer.AddExport"/> succeeded; from there on it belongs
/// to the export, and is disposed when the export is gone and no request of it is under way any more.</remarks>
public sealed class NbdExport
{
    private readonly Lock _gate = new();
    private readonly HashSet<ServerConnection> _connections = [];
    private readonly List<DirtyBitmap> _held = [];
    private TaskCompletionSource? _removed;
    private bool _closing;

    /// <summary>Describes an export.</summary>
    /// <param name="name">Its name: UTF-8 of up to 4096 bytes without NUL; empty for the default export.</param>
    /// <param name="backend">The disk.</param>
    /// <param name="options">How it is offered; the default is read-only without bitmaps.</param>
    /// <exception cref="NbdException">A name or description is not
    /// possible, or writing a read-only node is asked for.</exception>
    public NbdExport(string name, BlockBackend backend, NbdExportOptions? options = null)
    {
        options ??= new NbdExportOptions();
        CheckString("export name", name);
        CheckString("export description", options.Description);
        if (options.Writable && backend.Node.IsReadOnly)
        {
            throw new NbdException(
                BlockErrorKind.ReadOnly,
                $"export '{name}' cannot be writable: node '{backend.Node.Name}' is read-only");
        }

        Name = name;
        Backend = backend;
        Options = options;
        CheckAlignment(name, backend);
        List<ExportContext> contexts =
            [new(1, MetaContextNames.BaseAllocation, ExportContextKind.Allocation)];
        if (options.AllocationDepth)
        {
            contexts.Add(new(2, MetaContextNames.AllocationDepth, ExportContextKind.AllocationDepth));
        }

        foreach (var bitmap in options.Bitmaps)
        {
            CheckBitmap(name, bitmap, backend, options.Writable);
            contexts.Add(new(
                (uint)contexts.Count + 1,
                MetaContextNames.ForDirtyBitmap(bitmap.Name!),
                ExportContextKind.DirtyBitmap,
                bitmap));
        }

        Contexts = contexts;
    }

    /// <summary>The name that clients ask for.</summary>
    public string Name { get; }

    /// <summary>The disk.</summary>
    public BlockBackend Backend { get; }

    /// <summary>How it is offered.</summary>
    public NbdExportOptions Options { get; }

    /// <summary>How many clients are connected at this moment.</summary>
    public int ConnectionCount
    {
        get
        {
            lock (_gate)
            {
                return _connections.Count;
            }
        }
    }

    /// <summary>The metadata contexts on offer.</summary>
    internal IReadOnlyList<ExportContext> Contexts { get; }

    /// <summary>The smallest offset and length, and their alignment.</summary>
    internal int MinimumBlockSize => Backend.Node.Limits.RequestAlignment;

    /// <summary>The size at which requests are efficient.</summary>
    internal int PreferredBlockSize
    {
        get
        {
            // A power of two, at least 512 and the minimum, and no more than the longest payload.
            var wanted = Math.Clamp(Backend.Node.Limits.PreferredSize, 512, MaximumPayload);
            var rounded = BitOperations.RoundUpToPowerOf2((uint)wanted);
            return Math.Max(MinimumBlockSize, (int)(rounded > MaximumPayload ? rounded / 2 : rounded));
        }
    }

    /// <summary>The longest read or write.</summary>
    internal int MaximumPayload => Math.Min(Backend.Node.Limits.MaximumTransfer, NbdLimits.MaximumPayload);

    /// <summary>What is said of the export to a client.</summary>
    /// <param name="structured">Whether the client negotiated structured replies.</param>
    /// <param name="mayFilterContexts">Whether it negotiated extended headers, and contexts of this export.</param>
    internal NbdTransmissionFlags Flags(bool structured, bool mayFilterContexts = false)
    {
        // All connections share one node, whose flush covers every completed write: multiple connections are safe.
        var flags = NbdTransmissionFlags.HasFlags | NbdTransmissionFlags.SendFlush | NbdTransmissionFlags.SendFua
            | NbdTransmissionFlags.SendCache;
        flags |= Options.MultipleConnections
            ? NbdTransmissionFlags.CanMultiConnection : NbdTransmissionFlags.None;
        flags |= Options.Writable
            ? NbdTransmissionFlags.SendTrim | NbdTransmissionFlags.SendWriteZeroes | NbdTransmissionFlags.SendFastZero
            : NbdTransmissionFlags.ReadOnly;
        flags |= Options is { Grow: not null, Writable: true }
            ? NbdTransmissionFlags.SendResize : NbdTransmissionFlags.None;
        flags |= mayFilterContexts ? NbdTransmissionFlags.BlockStatusPayload : NbdTransmissionFlags.None;
        return structured ? flags | NbdTransmissionFlags.SendDontFragment : flags;
    }

    /// <summary>Grows the disk at a client's wish; only where the options have a way.</summary>
    internal ValueTask GrowAsync(long length) =>
        length == Backend.Length ? default : Options.Grow!(length, CancellationToken.None);

    /// <summary>Takes the bitmaps: they are busy from here on.</summary>
    internal void Open()
    {
        foreach (var bitmap in Options.Bitmaps)
        {
            if (bitmap.IsBusy)
            {
                ReleaseBitmaps();
                throw new NbdException(
                    BlockErrorKind.Busy,
                    $"Bitmap '{bitmap.Name}' is currently in use by another operation and cannot be used");
            }

            bitmap.IsBusy = true;
            _held.Add(bitmap);
        }
    }

    /// <summary>A client enters; false when the export is being removed.</summary>
    internal bool TryAttach(ServerConnection connection)
    {
        lock (_gate)
        {
            return !_closing && _connections.Add(connection);
        }
    }

    /// <summary>A client has left, and none of its requests is under way.</summary>
    internal void Detach(ServerConnection connection)
    {
        TaskCompletionSource? removed = null;
        lock (_gate)
        {
            if (_connections.Remove(connection) && _connections.Count == 0)
            {
                removed = _removed;
            }
        }

        removed?.TrySetResult();
    }

    /// <summary>Shuts the export and waits until its last client has left.</summary>
    internal Task CloseAsync(NbdExportRemoval mode)
    {
        ServerConnection[] connections;
        lock (_gate)
        {
            if (mode == NbdExportRemoval.Safe && !_closing && _connections.Count > 0)
            {
                throw new NbdException(
                    BlockErrorKind.Busy,
                    $"export '{Name}' still in use: {_connections.Count} client(s) are connected; hard removal cuts "
                    + "them off");
            }

            _closing = true;
            _removed ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            connections = [.. _connections];
        }

        foreach (var connection in connections)
        {
            connection.Abort();
        }

        if (connections.Length == 0)
        {
            _removed.TrySetResult();
        }

        return _removed.Task;
    }

    /// <summary>Lets go of the disk and the bitmaps.</summary>
    internal void Release()
    {
        ReleaseBitmaps();
        Backend.Dispose();
    }

    private void ReleaseBitmaps()
    {
        foreach (var bitmap in _held)
        {
            bitmap.IsBusy = false;
        }

        _held.Clear();
    }

    // What the document allows a server to ask for ("Size constraints").
    private static void CheckAlignment(string name, BlockBackend backend)
    {
        var alignment = backend.Node.Limits.RequestAlignment;
        if (!BitOperations.IsPow2(alignment) || alignment > NbdLimits.MaximumMinimumBlockSize)
        {
            throw new NbdException(
                BlockErrorKind.NotSupported,
                $"export '{name}' cannot be offered: node '{backend.Node.Name}' needs requests in multiples "
                + $"of {alignment}, NBD allows powers of two up to {NbdLimits.MaximumMinimumBlockSize}");
        }
    }

    private static void CheckString(string what, string text)
    {
        if (text.Contains('\0') || Encoding.UTF8.GetByteCount(text) > NbdLimits.MaximumStringLength)
        {
            throw new NbdException(
                BlockErrorKind.BadName, $"an {what} has at most {NbdLimits.MaximumStringLength} bytes and no NUL");
        }
    }

    private static void CheckBitmap(string export, DirtyBitmap bitmap, BlockBackend backend, bool writable)
    {
        var name = bitmap.Name
            ?? throw new NbdException(
                BlockErrorKind.BadName, $"export '{export}': a bitmap without a name cannot be exported");
        CheckString("meta context name", MetaContextNames.ForDirtyBitmap(name));
        if (bitmap.IsInconsistent)
        {
            throw new NbdException(
                BlockErrorKind.Invalid, $"Bitmap '{name}' is inconsistent and cannot be used; remove it");
        }

        if (bitmap.Length != backend.Length)
        {
            throw new NbdException(
                BlockErrorKind.Invalid,
                $"bitmap '{name}' covers {bitmap.Length} bytes, export '{export}' has {backend.Length}");
        }

        if (!writable && !backend.Node.IsReadOnly && bitmap.IsRecording)
        {
            throw new NbdException(
                BlockErrorKind.Invalid, $"Enabled bitmap '{name}' incompatible with readonly export");
        }
    }
}
