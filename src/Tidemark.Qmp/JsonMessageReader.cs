using System.IO.Pipelines;
using System.Text.Json;

namespace Tidemark.Qmp;

/// <summary>Reads JSON values from a stream, one after another. Used by one task at a time.</summary>
/// <remarks>What a value costs is bounded by <see cref="QmpLimits.MaximumMessageLength"/> and
/// <see cref="QmpLimits.MaximumNesting"/>; beyond them the stream is given up.</remarks>
internal sealed class JsonMessageReader
{
    private static readonly JsonDocumentOptions s_options = new()
    {
        MaxDepth = QmpLimits.MaximumNesting,
        AllowDuplicateProperties = false,
    };

    private readonly PipeReader _pipe;
    private readonly JsonMessageScanner _scanner;

    internal JsonMessageReader(Stream stream, int maximumLength = QmpLimits.MaximumMessageLength)
    {
        _pipe = PipeReader.Create(stream, new StreamPipeReaderOptions(bufferSize: 16 * 1024, leaveOpen: true));
        _scanner = new JsonMessageScanner(maximumLength);
    }

    /// <summary>The next value, which stands on its own; null at the end of the stream.</summary>
    /// <exception cref="JsonException">The value was no JSON; the next one can still be read.</exception>
    /// <exception cref="QmpException">A limit was passed, or the stream ended inside a value; reading is
    /// over.</exception>
    /// <exception cref="IOException">The stream failed; reading is over.</exception>
    internal async ValueTask<JsonElement?> ReadAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            var result = await _pipe.ReadAsync(cancellationToken).ConfigureAwait(false);
            var buffer = result.Buffer;
            if (_scanner.TryFindValue(buffer, out var value))
            {
                try
                {
                    using var document = JsonDocument.Parse(value, s_options);
                    return document.RootElement.Clone();
                }
                finally
                {
                    _pipe.AdvanceTo(value.End);
                }
            }

            if (result.IsCompleted)
            {
                _pipe.AdvanceTo(buffer.End);
                return _scanner.IsInsideValue
                    ? throw new QmpException(QmpException.ProtocolError, "the monitor's stream ended inside a message")
                    : null;
            }

            if (_scanner.IsInsideValue)
            {
                _pipe.AdvanceTo(buffer.Start, buffer.End);
            }
            else
            {
                _scanner.Forget();
                _pipe.AdvanceTo(buffer.End);
            }
        }
    }

    /// <summary>Gives the buffers back. The stream stays the caller's.</summary>
    internal ValueTask CompleteAsync() => _pipe.CompleteAsync();
}
