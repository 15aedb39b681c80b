using System.Buffers;

namespace Tidemark.Qmp;

// A QMP stream is a sequence of JSON values with nothing between them but optional white space; a value may arrive in
// any number of pieces, and one piece may hold many values. The scanner finds where each value ends without
// understanding it: it tracks strings, escapes and the depth of brackets, byte by byte, and keeps its place between
// pieces so that no byte is looked at twice. States:
//
//   between   white space is skipped; the first other byte begins a value
//   nested    inside brackets; the value ends with the bracket that brings the depth back to 0
//   text      inside a string; at depth 0 the string is the whole value
//   bare      a number or keyword at depth 0; ends before white space, a bracket, a comma or a quote
//
// What cannot be the inside of a value (a control character in a string, a closing bracket with nothing open) ends the
// value at once, there: its text is then no JSON, the parser says so, and scanning begins afresh behind it. A reader
// that was sent rubbish is thus in step again at the next line, as QEMU's is.

/// <summary>Finds the ends of JSON values in a byte stream. Not thread-safe; one per stream.</summary>
internal sealed class JsonMessageScanner
{
    private readonly int _maximumLength;
    private State _state;
    private bool _escaped;
    private int _depth;
    private long _scanned;

    internal JsonMessageScanner(int maximumLength) => _maximumLength = maximumLength;

    private enum State
    {
        Between,
        Nested,
        Text,
        Bare,
    }

    /// <summary>Whether part of a value has been seen whose end has not.</summary>
    internal bool IsInsideValue => _state != State.Between;

    /// <summary>
    /// Looks for the end of the first value of a buffer that begins where the last returned value ended.
    /// </summary>
    /// <param name="buffer">All bytes not yet consumed, from the same place on as at the last call.</param>
    /// <param name="value">The bytes of the value; leading white space may be part of it.</param>
    /// <returns>False when the value's end has not come yet.</returns>
    /// <exception cref="QmpException">The value is longer or nested deeper than the limits allow.</exception>
    internal bool TryFindValue(in ReadOnlySequence<byte> buffer, out ReadOnlySequence<byte> value)
    {
        var from = _scanned;
        foreach (var segment in buffer.Slice(from))
        {
            var span = segment.Span;
            for (var index = 0; index < span.Length; index++)
            {
                var ends = Step(span[index], out var isPart);
                if (ends)
                {
                    value = buffer.Slice(0, from + index + (isPart ? 1 : 0));
                    _state = State.Between;
                    _depth = 0;
                    _scanned = 0;
                    return true;
                }
            }

            from += span.Length;
            if (IsInsideValue && from > _maximumLength)
            {
                throw new QmpException(
                    QmpException.ProtocolError, $"a message is longer than the limit of {_maximumLength} bytes");
            }
        }

        _scanned = from;
        value = default;
        return false;
    }

    /// <summary>Says that the caller dropped the white space it was shown, so that the next buffer begins behind
    /// it.</summary>
    internal void Forget() => _scanned = 0;

    // Whether the value ends at this byte, and whether the byte belongs to it.
    private bool Step(byte next, out bool isPart)
    {
        isPart = true;
        switch (_state)
        {
            case State.Between:
                return Begin(next);
            case State.Text:
                return StepText(next);
            case State.Bare:
                isPart = false;
                return next <= (byte)' ' || IsStructural(next);
            default:
                return StepNested(next);
        }
    }

    private bool Begin(byte next)
    {
        if (next is (byte)' ' or (byte)'\t' or (byte)'\r' or (byte)'\n')
        {
            return false;
        }

        switch (next)
        {
            case (byte)'{' or (byte)'[':
                _depth = 1;
                _state = State.Nested;
                return false;
            case (byte)'"':
                _state = State.Text;
                return false;
            case (byte)'}' or (byte)']' or (byte)',' or (byte)':' or < (byte)' ' or >= 0x7f:
                return true;
            default:
                _state = State.Bare;
                return false;
        }
    }

    private bool StepText(byte next)
    {
        if (_escaped)
        {
            _escaped = false;
            return false;
        }

        switch (next)
        {
            case (byte)'\\':
                _escaped = true;
                return false;
            case (byte)'"':
                _state = State.Nested;
                return _depth == 0;
            default:
                return next < (byte)' ';
        }
    }

    private bool StepNested(byte next)
    {
        switch (next)
        {
            case (byte)'"':
                _state = State.Text;
                return false;
            case (byte)'{' or (byte)'[':
                if (++_depth > QmpLimits.MaximumNesting)
                {
                    throw new QmpException(
                        QmpException.ProtocolError,
                        $"a message is nested deeper than {QmpLimits.MaximumNesting} levels");
                }

                return false;
            case (byte)'}' or (byte)']':
                return --_depth == 0;
            default:
                return false;
        }
    }

    private static bool IsStructural(byte next) =>
        next is (byte)'{' or (byte)'}' or (byte)'[' or (byte)']' or (byte)',' or (byte)':' or (byte)'"';
}
