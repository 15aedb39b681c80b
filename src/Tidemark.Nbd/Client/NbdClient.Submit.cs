using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

// Sending: a place among the requests in flight, the cookie, then header and payload in one system call.
public sealed partial class NbdClient
{
    private static readonly byte[] s_zeroes = new byte[1 << 20];

    private ValueTask SubmitAsync(in OutgoingRequest request, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return _free.Wait(0, CancellationToken.None) ? Submit(request, cancellationToken)
            : SubmitLaterAsync(request, cancellationToken);
    }

    private async ValueTask SubmitLaterAsync(OutgoingRequest request, CancellationToken cancellationToken)
    {
        await _free.WaitAsync(cancellationToken).ConfigureAwait(false);
        await Submit(request, cancellationToken).ConfigureAwait(false);
    }

    // The caller holds a count of _free.
    private ValueTask Submit(in OutgoingRequest request, CancellationToken cancellationToken)
    {
        PendingRequest place;
        Exception? failure;
        lock (_gate)
        {
            failure = _failure;
            place = _places[_freePlaces[--_freeCount]];
            if (failure is null)
            {
                // The cookie names the place; its generation makes a late or repeated reply recognizable.
                place.Reset();
                var cookie = ((ulong)++_generation << 32) | (uint)place.Index;
                var flags = request.Flags;
                var length = request.Length;
                if (_export.ExtendedHeaders && !request.Payload.IsEmpty)
                {
                    flags |= CommandFlags.PayloadLength;
                    length = request.Command == NbdCommand.Write ? request.Length : request.Payload.Length;
                }

                place.Header = new RequestHeader(
                    flags, request.Command, cookie, (ulong)request.Offset, (ulong)length);
                place.Length = request.Length;
                place.Target = request.Target;
                place.Late = request.Late;
                place.Extents = request.Extents;
                place.ContextId = request.ContextId;
                place.SubmittedAt = _deadlineTimer is null ? 0 : _options.TimeProvider.GetTimestamp();
                place.IsRegistered = true;
                _inFlight++;
            }
        }

        if (failure is not null)
        {
            Free(place);
            throw Lost(failure);
        }

        var task = place.Task;
        Span<byte> header = stackalloc byte[RequestHeader.ExtendedSize];
        header = header[..RequestHeader.SizeOf(_export.ExtendedHeaders)];
        place.Header.Write(header, _export.ExtendedHeaders);
        try
        {
            lock (_sendGate)
            {
                _transport.Send(header, request.Payload.Span);
                for (var index = 0; index < request.MoreCount; index++)
                {
                    _transport.Send(request.More![index].Span, default);
                }
            }

            place.Watch(cancellationToken);
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            // Registered already: the receive loop will fail this request together with all others.
            _sendFailed = true;
            Fail(new NbdException(BlockErrorKind.Io, exception.Message, exception));
        }

        return task;
    }

    /// <summary>The caller has taken its result.</summary>
    internal void Free(PendingRequest place)
    {
        lock (_gate)
        {
            _freePlaces[_freeCount++] = place.Index;
        }

        _free.Release();
    }

    /// <summary>A caller gave up on its request: it gets some time, then the connection is given up.</summary>
    internal void Abandon(PendingRequest place)
    {
        lock (_gate)
        {
            if (place.IsRegistered && place.CancelledAt == 0)
            {
                place.CancelledAt = Math.Max(1, _options.TimeProvider.GetTimestamp());
                _abandonTimer ??= _options.TimeProvider.CreateTimer(
                    static client =>
                        ((NbdClient)client!).GiveUp(), this, _options.CancellationGrace, _options.CancellationGrace);
            }
        }
    }

    private void GiveUp()
    {
        var time = _options.TimeProvider;
        lock (_gate)
        {
            var waiting = false;
            var late = false;
            foreach (var place in _places)
            {
                if (place.IsRegistered && place.CancelledAt != 0)
                {
                    waiting = true;
                    late |= time.GetElapsedTime(place.CancelledAt) >= _options.CancellationGrace;
                }
            }

            if (!waiting)
            {
                _abandonTimer?.Dispose();
                _abandonTimer = null;
            }

            if (!late)
            {
                return;
            }
        }

        Fail(new NbdException(
            BlockErrorKind.Io,
            $"the connection to {_transport.Peer} was given up: a cancelled request was not answered in time"));
    }

    private void CheckDeadlines()
    {
        var time = _options.TimeProvider;
        lock (_gate)
        {
            if (!_places.Any(place =>
                place.IsRegistered && time.GetElapsedTime(place.SubmittedAt) >= _options.RequestTimeout))
            {
                return;
            }
        }

        Fail(new NbdException(
            BlockErrorKind.Io,
            $"the connection to {_transport.Peer} was given up: a request was not answered within "
            + $"{_options.RequestTimeout.TotalSeconds} s"));
    }

    // First reason wins. The server is told that nothing more comes, and the receive loop goes on to the server's end,
    // or to the timer's; then it fails what was not answered.
    private void Fail(Exception reason)
    {
        lock (_gate)
        {
            _failure ??= reason;
        }

        EndSending();
    }

    private void EndSending()
    {
        lock (_gate)
        {
            if (_disposed)
            {
                return;
            }

            _transport.EndSending();
            _endTimer ??= _options.TimeProvider.CreateTimer(
                static client => ((NbdClient)client!).AbortTransport(),
                this,
                _options.CloseTimeout,
                Timeout.InfiniteTimeSpan);
        }
    }

    private void AbortTransport()
    {
        lock (_gate)
        {
            if (!_disposed)
            {
                _aborted = true;
                _transport.Abort();
            }
        }
    }

    private static NbdException Lost(Exception failure) =>
        new(BlockErrorKind.Io, $"the NBD connection is lost: {failure.Message}", failure);

    private void SendDisconnect()
    {
        Span<byte> header = stackalloc byte[RequestHeader.ExtendedSize];
        header = header[..RequestHeader.SizeOf(_export.ExtendedHeaders)];
        new RequestHeader(CommandFlags.None, NbdCommand.Disconnect, 0, 0, 0).Write(header, _export.ExtendedHeaders);
        try
        {
            lock (_sendGate)
            {
                _transport.Send(header, default);
                _transport.EndSession();
            }
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            AbortTransport();
        }
    }

    private async ValueTask ReadPiecesAsync(long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        while (!target.IsEmpty)
        {
            var piece = target[..Math.Min(target.Length, MaximumPayload)];
            await SubmitAsync(
                new(NbdCommand.Read, CommandFlags.None, offset, piece.Length) { Target = piece },
                cancellationToken)
                .ConfigureAwait(false);
            offset += piece.Length;
            target = target[piece.Length..];
        }
    }

    private async ValueTask WritePiecesAsync(
        long offset, ReadOnlyMemory<byte> source, CommandFlags flags, bool flushAfter,
        CancellationToken cancellationToken)
    {
        while (!source.IsEmpty)
        {
            var piece = source[..Math.Min(source.Length, MaximumPayload)];
            await SubmitAsync(
                new(NbdCommand.Write, flags, offset, piece.Length) { Payload = piece }, cancellationToken)
                .ConfigureAwait(false);
            offset += piece.Length;
            source = source[piece.Length..];
        }

        if (flushAfter)
        {
            await FlushAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    // The pieces need not be aligned, only their sum: what is too long for one request is gathered.
    private async ValueTask WriteEachAsync(
        long offset, ReadOnlyMemory<byte>[] pieces, CommandFlags flags, bool flushAfter,
        CancellationToken cancellationToken)
    {
        var length = pieces.Sum(piece => (long)piece.Length);
        var buffer = System.Buffers.ArrayPool<byte>.Shared.Rent((int)Math.Min(length, MaximumPayload));
        try
        {
            var capacity = (int)Math.Min(buffer.Length, MaximumPayload);
            capacity -= capacity % MinimumBlockSize;
            var filled = 0;
            foreach (var piece in pieces)
            {
                for (var rest = piece; !rest.IsEmpty;)
                {
                    var count = Math.Min(rest.Length, capacity - filled);
                    rest[..count].CopyTo(buffer.AsMemory(filled));
                    rest = rest[count..];
                    filled += count;
                    if (filled == capacity)
                    {
                        await WritePiecesAsync(
                            offset, buffer.AsMemory(0, filled), flags, flushAfter: false, cancellationToken)
                            .ConfigureAwait(false);
                        offset += filled;
                        filled = 0;
                    }
                }
            }

            await WritePiecesAsync(offset, buffer.AsMemory(0, filled), flags, flushAfter, cancellationToken)
                .ConfigureAwait(false);
        }
        finally
        {
            System.Buffers.ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private async ValueTask WriteZeroBytesAsync(
        long offset, long length, CommandFlags flags, CancellationToken cancellationToken)
    {
        while (length > 0)
        {
            var count = (int)Math.Min(length, Math.Min(s_zeroes.Length, MaximumPayload));
            await SubmitAsync(
                new(NbdCommand.Write, flags, offset, count) { Payload = s_zeroes.AsMemory(0, count) },
                cancellationToken)
                .ConfigureAwait(false);
            offset += count;
            length -= count;
        }
    }

    // Commands without payload may be longer than the maximum payload, but a server may find a long one too large
    // ("Size constraints"): then it is cut smaller, once and for all the rest.
    private async ValueTask SubmitPiecesAsync(
        NbdCommand command, CommandFlags flags, long offset, long length, CancellationToken cancellationToken)
    {
        var longest = _export.ExtendedHeaders ? LongestExtendedPiece : LongestPiece;
        while (length > 0)
        {
            var piece = Math.Min(length, longest);
            try
            {
                await SubmitAsync(new(command, flags, offset, piece), cancellationToken).ConfigureAwait(false);
            }
            catch (NbdException exception)
                when (piece > MaximumPayload && exception.Error is NbdError.EOVERFLOW or NbdError.EINVAL)
            {
                longest = MaximumPayload;
                continue;
            }

            offset += piece;
            length -= piece;
        }
    }
}
