using System.Buffers.Binary;

namespace Tidemark.Nbd.Protocol;

/// <summary>
/// Reads ahead: headers come from here, several with one system call; payloads take what is here and receive the rest
/// straight into their own memory. One thread at a time.
/// </summary>
internal sealed class ReceiveBuffer
{
    private NbdTransport _transport;
    private readonly byte[] _buffer;
    private int _start;
    private int _end;
    private bool _expectsLong;

    /// <summary>Payloads from this length on are long: what comes before them is received by itself.</summary>
    private const int LongPayload = 16 * 1024;

    /// <summary>As much as any header has.</summary>
    private const int NextHeader = 32;

    /// <summary>Creates a buffer; a header must fit in its capacity.</summary>
    internal ReceiveBuffer(NbdTransport transport, int capacity)
    {
        _transport = transport;
        _buffer = new byte[capacity];
    }

    /// <summary>Receives from another transport from here on; nothing of the old one may be waiting here.</summary>
    internal void Switch(NbdTransport transport)
    {
        if (_start != _end)
        {
            throw new InvalidOperationException("bytes of the old transport would be taken for the new one's");
        }

        _transport = transport;
    }

    /// <summary>The bytes that are here.</summary>
    internal ReadOnlySpan<byte> Waiting => _buffer.AsSpan(_start, _end - _start);

    /// <summary>Makes sure that <paramref name="count"/> bytes are here.</summary>
    /// <returns>False when the peer ended before the first of them.</returns>
    /// <exception cref="IOException">The peer ended in the middle, or the connection broke.</exception>
    internal bool TryFill(int count)
    {
        while (_end - _start < count)
        {
            if (_start == _end)
            {
                _start = _end = 0;
            }
            else if (_start + count > _buffer.Length)
            {
                Buffer.BlockCopy(_buffer, _start, _buffer, 0, _end - _start);
                _end -= _start;
                _start = 0;
            }

            // Where payloads are long, only the header is taken here: the payload goes straight to where it is wanted.
            var room = _expectsLong ? _buffer.AsSpan(_end, count - (_end - _start)) : _buffer.AsSpan(_end);
            var received = _transport.Receive(room);
            if (received == 0)
            {
                return _start == _end
                    ? false
                    : throw new EndOfStreamException(
                        $"{_transport.Peer} closed the connection in the middle of a message");
            }

            _end += received;
        }

        _expectsLong = false;
        return true;
    }

    /// <summary>Takes bytes that must come; the span is good until the next call.</summary>
    internal ReadOnlySpan<byte> Take(int count)
    {
        if (!TryFill(count))
        {
            throw new EndOfStreamException($"{_transport.Peer} closed the connection");
        }

        var taken = _buffer.AsSpan(_start, count);
        _start += count;
        return taken;
    }

    internal ushort TakeUInt16() => BinaryPrimitives.ReadUInt16BigEndian(Take(2));

    internal uint TakeUInt32() => BinaryPrimitives.ReadUInt32BigEndian(Take(4));

    internal ulong TakeUInt64() => BinaryPrimitives.ReadUInt64BigEndian(Take(8));

    /// <summary>Fills the target: from here first, the rest straight from the transport.</summary>
    internal void CopyTo(Span<byte> target)
    {
        var here = Math.Min(target.Length, _end - _start);
        _buffer.AsSpan(_start, here).CopyTo(target);
        _start += here;
        var rest = target[here..];
        _expectsLong = target.Length >= LongPayload;
        if (_expectsLong)
        {
            ReceiveWithNext(rest);
        }
        else if (!rest.IsEmpty && _transport.ReceiveAll(rest) < rest.Length)
        {
            throw PayloadEnded();
        }
    }

    // The next header comes with the payload's last bytes, if it is there: it costs no system call of its own.
    private void ReceiveWithNext(Span<byte> rest)
    {
        while (!rest.IsEmpty)
        {
            var count = _transport.Receive(rest, _buffer.AsSpan(0, NextHeader));
            if (count == 0)
            {
                throw PayloadEnded();
            }

            if (count > rest.Length)
            {
                (_start, _end) = (0, count - rest.Length);
                return;
            }

            rest = rest[count..];
        }
    }

    private EndOfStreamException PayloadEnded() =>
        new($"{_transport.Peer} closed the connection in the middle of a payload");

    /// <summary>Throws bytes away.</summary>
    internal void Skip(long count)
    {
        while (count > 0)
        {
            if (_start == _end && !TryFill(1))
            {
                throw new EndOfStreamException($"{_transport.Peer} closed the connection in the middle of a message");
            }

            var step = (int)Math.Min(count, _end - _start);
            _start += step;
            count -= step;
        }
    }
}
