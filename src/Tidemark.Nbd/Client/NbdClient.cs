using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

/// <summary>
/// One connection to an export, with many requests in flight (doc/proto.md, "Transmission"). Callers send on their own
/// threads; one thread receives, straight into the callers' memory.
/// </summary>
/// <remarks>
/// <para>Thread-safe. Memory is lent until the returned task completes, whatever happens. A request that is under way
/// cannot be recalled: a cancelled one completes with its reply, and after
/// <see cref="NbdClientOptions.CancellationGrace"/> the whole connection is given up for it.</para>
/// <para>An error that the server reports fails its request alone and carries the server's code. Anything that breaks
/// the connection or the protocol fails every request in flight and every later one, with the first reason, but not
/// before the server has ended its side or <see cref="NbdClientOptions.CloseTimeout"/> has passed: see
/// <see cref="IsSettled"/>. Reconnecting is <see cref="NbdNode"/>'s. A reply is believed only if its cookie is in
/// flight, its lengths fit and its chunks cover the whole read.</para>
/// <para>Each returned task must be awaited, and only once: its
/// place among the requests in flight is free after that.</para>
/// </remarks>
public sealed partial class NbdClient : IAsyncDisposable
{
    /// <summary>Zeroing and trimming go in pieces of this length.</summary>
    private const long LongestPiece = 1L << 30;

    /// <summary>The same where headers are extended.</summary>
    private const long LongestExtendedPiece = 1L << 40;

    /// <summary>Room for several headers, so that one system call brings many replies.</summary>
    private const int ReadAhead = 4096;

    private readonly NbdClientOptions _options;
    private readonly NbdTransport _transport;
    private readonly ReceiveBuffer _receiver;
    private readonly NegotiatedExport _export;
    private long _length;
    private readonly PendingRequest[] _places;
    private readonly SemaphoreSlim _free;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private readonly Lock _sendGate = new();
    private readonly ITimer? _deadlineTimer;

    // Guarded by _gate.
    private readonly int[] _freePlaces;
    private int _freeCount;
    private uint _generation;
    private int _inFlight;
    private Exception? _failure;
    private ITimer? _abandonTimer;
    private ITimer? _endTimer;
    private bool _closing;
    private bool _disposed;
    private bool _aborted;
    private bool _leaves;

    private volatile bool _sendFailed;

    private NbdClient(
        NbdTransport transport, ReceiveBuffer receiver, NegotiatedExport export, NbdClientOptions options)
    {
        _transport = transport;
        _receiver = receiver;
        _export = export;
        _length = export.Length;
        _options = options;
        _places = new PendingRequest[options.MaximumRequests];
        _freePlaces = new int[options.MaximumRequests];
        for (var index = 0; index < _places.Length; index++)
        {
            _places[index] = new PendingRequest(this, index);
            _freePlaces[index] = index;
        }

        _freeCount = _places.Length;
        _free = new SemaphoreSlim(_places.Length);
        if (options.RequestTimeout != Timeout.InfiniteTimeSpan)
        {
            var period = TimeSpan.FromTicks(Math.Max(TimeSpan.TicksPerMillisecond, options.RequestTimeout.Ticks / 4));
            _deadlineTimer = options.TimeProvider.CreateTimer(
                static client => ((NbdClient)client!).CheckDeadlines(), this, period, period);
        }

        MetaContexts = [.. export.Contexts.Keys];
    }

    /// <summary>The size of the export in bytes, as it was when we connected or resized it.</summary>
    public long Length => Interlocked.Read(ref _length);

    /// <summary>What the server says of the export.</summary>
    public NbdTransmissionFlags Flags => _export.Flags;

    /// <summary>The server's words about the export; empty when there are none.</summary>
    public string Description => _export.Description;

    /// <summary>Whether the server refuses writes.</summary>
    public bool IsReadOnly => (Flags & NbdTransmissionFlags.ReadOnly) != 0;

    /// <summary>Whether several connections to this export see each other's completed writes.</summary>
    public bool CanMultiConnection => (Flags & NbdTransmissionFlags.CanMultiConnection) != 0;

    /// <summary>Whether replies are structured: precise errors, holes, metadata contexts.</summary>
    public bool HasStructuredReplies => _export.StructuredReplies;

    /// <summary>Whether headers are extended: requests of any length.</summary>
    public bool HasExtendedHeaders => _export.ExtendedHeaders;

    /// <summary>The contexts that were negotiated.</summary>
    public IReadOnlyList<string> MetaContexts { get; }

    /// <summary>Offsets and lengths are multiples of this.</summary>
    public int MinimumBlockSize => _export.MinimumBlockSize;

    /// <summary>The size at which requests are efficient.</summary>
    public int PreferredBlockSize => _export.PreferredBlockSize;

    /// <summary>The longest single request; longer reads and writes are cut.</summary>
    public int MaximumPayload => _export.MaximumPayload;

    /// <summary>See <see cref="NbdClientOptions.InlineCompletions"/>.</summary>
    internal bool InlineCompletions => _options.InlineCompletions;

    /// <summary>Why the connection failed; null while it works.</summary>
    public Exception? Failure
    {
        get
        {
            lock (_gate)
            {
                return _failure;
            }
        }
    }

    /// <summary>
    /// Whether the server ended a lost connection on its side too, so that each of its writes is done or never will be.
    /// Means something when the connection has failed and its requests have.
    /// </summary>
    public bool IsSettled { get; private set; }

    /// <summary>Ends when the connection has: nothing of it is under way here any more.</summary>
    internal Task Ended => _ended.Task;

    /// <summary>Reads into the caller's memory.</summary>
    /// <exception cref="NbdException">The server reported an error, or the connection is lost.</exception>
    public ValueTask ReadAsync(long offset, Memory<byte> target, CancellationToken cancellationToken = default)
    {
        CheckRange(offset, target.Length);
        return target.Length <= MaximumPayload
            ? SubmitAsync(new(
                NbdCommand.Read, CommandFlags.None, offset, target.Length) { Target = target }, cancellationToken)
            : ReadPiecesAsync(offset, target, cancellationToken);
    }

    /// <summary>Reads into memory that is given when the bytes come.</summary>
    /// <param name="offset">Where.</param>
    /// <param name="length">At most <see cref="MaximumPayload"/>.</param>
    /// <param name="target">What gives the memory.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="NbdException">As <see cref="ReadAsync"/>.</exception>
    internal ValueTask ReadLateAsync(
        long offset, int length, ILateTarget target, CancellationToken cancellationToken)
    {
        CheckRange(offset, length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, MaximumPayload);
        return SubmitAsync(
            new(NbdCommand.Read, CommandFlags.None, offset, length) { Late = target }, cancellationToken);
    }

    /// <summary>Writes the caller's bytes.</summary>
    /// <param name="offset">Where.</param>
    /// <param name="source">The bytes; lent until the task completes.</param>
    /// <param name="forceUnitAccess">Durable when the task completes, by FUA or by a flush.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="NbdException">As <see cref="ReadAsync"/>.</exception>
    public ValueTask WriteAsync(
        long offset, ReadOnlyMemory<byte> source, bool forceUnitAccess = false,
        CancellationToken cancellationToken = default)
    {
        CheckRange(offset, source.Length);
        var flags = UnitAccessFlag(forceUnitAccess, out var flushAfter);
        return source.Length <= MaximumPayload && !flushAfter
            ? SubmitAsync(
                new(NbdCommand.Write, flags, offset, source.Length) { Payload = source }, cancellationToken)
            : WritePiecesAsync(offset, source, flags, flushAfter, cancellationToken);
    }

    /// <summary>Writes bytes that lie in several pieces, one behind the other: one request where they fit in
    /// one.</summary>
    /// <param name="offset">Where.</param>
    /// <param name="sources">The pieces; lent until the task completes.</param>
    /// <param name="forceUnitAccess">Durable when the task completes.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="NbdException">As <see cref="ReadAsync"/>.</exception>
    public ValueTask WriteAsync(
        long offset,
        IReadOnlyList<ReadOnlyMemory<byte>> sources,
        bool forceUnitAccess = false,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(sources);
        var length = sources.Sum(source => (long)source.Length);
        CheckRange(offset, length);
        var pieces = sources.Where(source => !source.IsEmpty).ToArray();
        var flags = UnitAccessFlag(forceUnitAccess, out var flushAfter);
        return pieces.Length > 0 && length <= MaximumPayload && !flushAfter
            ? SubmitAsync(
                new(NbdCommand.Write, flags, offset, length) { Payload = pieces[0], More = pieces[1..] },
                cancellationToken)
            : WriteEachAsync(offset, pieces, flags, flushAfter, cancellationToken);
    }

    /// <summary>Makes a range read as zero; any length. Where the
    /// server has no such command, zero bytes are sent.</summary>
    /// <exception cref="NbdException">As <see cref="ReadAsync"/>; also not
    /// supported, with <see cref="WriteFlags.NoFallback"/>.</exception>
    public async ValueTask WriteZeroesAsync(
        long offset, long length, WriteFlags flags = WriteFlags.None, CancellationToken cancellationToken = default)
    {
        CheckRange(offset, length);
        var commandFlags = UnitAccessFlag((flags & WriteFlags.ForceUnitAccess) != 0, out var flushAfter);
        if ((Flags & NbdTransmissionFlags.SendWriteZeroes) != 0)
        {
            commandFlags |= (flags & WriteFlags.MayUnmap) == 0 ? CommandFlags.NoHole : CommandFlags.None;
            if ((flags & WriteFlags.NoFallback) != 0)
            {
                commandFlags |= (Flags & NbdTransmissionFlags.SendFastZero) != 0
                    ? CommandFlags.FastZero
                    : throw CannotZero();
            }

            await SubmitPiecesAsync(NbdCommand.WriteZeroes, commandFlags, offset, length, cancellationToken)
                .ConfigureAwait(false);
        }
        else if ((flags & WriteFlags.NoFallback) != 0)
        {
            throw CannotZero();
        }
        else
        {
            await WriteZeroBytesAsync(offset, length, commandFlags, cancellationToken).ConfigureAwait(false);
        }

        if (flushAfter)
        {
            await FlushAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Says that a range's content is no longer wanted; does
    /// nothing where the server does not understand it.</summary>
    /// <exception cref="NbdException">As <see cref="ReadAsync"/>.</exception>
    public ValueTask TrimAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        CheckRange(offset, length);
        return (Flags & NbdTransmissionFlags.SendTrim) != 0
            ? SubmitPiecesAsync(NbdCommand.Trim, CommandFlags.None, offset, length, cancellationToken)
            : default;
    }

    /// <summary>Makes every write durable that completed before the
    /// call; does nothing where the server has no cache.</summary>
    /// <exception cref="NbdException">As <see cref="ReadAsync"/>.</exception>
    public ValueTask FlushAsync(CancellationToken cancellationToken = default) =>
        (Flags & NbdTransmissionFlags.SendFlush) != 0
            ? SubmitAsync(new(NbdCommand.Flush, CommandFlags.None, 0, 0), cancellationToken)
            : default;

    /// <summary>Tells the server that a range will be read soon; does nothing where it does not understand
    /// it.</summary>
    /// <exception cref="NbdException">As <see cref="ReadAsync"/>.</exception>
    public ValueTask CacheAsync(long offset, long length, CancellationToken cancellationToken = default)
    {
        CheckRange(offset, length);
        return (Flags & NbdTransmissionFlags.SendCache) != 0
            ? SubmitPiecesAsync(NbdCommand.Cache, CommandFlags.None, offset, length, cancellationToken)
            : default;
    }

    /// <summary>Changes the export's size (the RESIZE extension). No request may be under way behind the smaller of the
    /// two sizes.</summary>
    /// <exception cref="NbdException">Not supported by the server, or as <see cref="ReadAsync"/>.</exception>
    public async ValueTask ResizeAsync(long length, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        if ((Flags & NbdTransmissionFlags.SendResize) == 0)
        {
            throw new NbdException(BlockErrorKind.NotSupported, "the NBD server does not resize this export");
        }

        await SubmitAsync(new(NbdCommand.Resize, CommandFlags.None, length, 0), cancellationToken)
            .ConfigureAwait(false);
        Interlocked.Exchange(ref _length, length);
    }

    /// <summary>
    /// Closes: politely when nothing is in flight, otherwise by cutting the connection, which fails what is in flight.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        BeginClose();
        try
        {
            await _ended.Task.WaitAsync(_options.CloseTimeout, _options.TimeProvider).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            AbortTransport();
            await _ended.Task.ConfigureAwait(false);
        }
    }

    /// <summary>What closing begins with, without waiting for the connection's end.</summary>
    internal void BeginClose()
    {
        bool isIdle;
        lock (_gate)
        {
            if (_closing)
            {
                isIdle = false;
            }
            else
            {
                _closing = true;
                isIdle = _inFlight == 0 && _failure is null;
                _failure ??= new NbdException(BlockErrorKind.Io, "the NBD client was closed");
            }
        }

        if (isIdle)
        {
            SendDisconnect();
        }
        else
        {
            EndSending();
        }
    }

    private static NbdException CannotZero() =>
        new(BlockErrorKind.NotSupported, "the NBD server cannot say whether it writes zeroes fast");

    private CommandFlags UnitAccessFlag(bool wanted, out bool flushAfter)
    {
        var understood = (Flags & NbdTransmissionFlags.SendFua) != 0;
        flushAfter = wanted && !understood;
        return wanted && understood ? CommandFlags.ForceUnitAccess : CommandFlags.None;
    }

    private void CheckRange(long offset, long length)
    {
        if (offset < 0 || length < 0 || offset > Length || length > Length - offset
            || ((offset | length) & (MinimumBlockSize - 1)) != 0)
        {
            throw new NbdException(
                BlockErrorKind.OutOfRange,
                $"{length} bytes at {offset} lie outside the export of {Length} bytes, or are no multiples "
                + $"of {MinimumBlockSize}");
        }
    }
}
