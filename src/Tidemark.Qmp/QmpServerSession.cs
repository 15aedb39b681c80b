using System.Buffers;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Threading.Channels;

namespace Tidemark.Qmp;

// One client of a monitor, from the greeting to the end of the stream. Two loops:
//
//   RunCommandsAsync  reads a message, carries the command out, queues the reply; then reads the next one. Commands are
//                     thus carried out one at a time, in the order in which they came
//   RunWriteAsync     writes what is queued: the greeting, replies and events, in the order in which they were queued
//
// An event that a command causes is queued before the command's reply, because the reply is queued when the command has
// returned. Until the client has negotiated, only qmp_capabilities is known to it, and it gets no events.

/// <summary>The server's side of one monitor connection.</summary>
/// <remarks>QMP: QEMU's docs/interop/qmp-spec, "Protocol Specification". Out-of-band execution is not
/// offered.</remarks>
public sealed class QmpServerSession : IDisposable
{
    /// <summary>How long a client that has stopped sending may take to read what it still has to get.</summary>
    public static readonly TimeSpan FarewellTimeout = TimeSpan.FromSeconds(5);

    private readonly Stream _stream;
    private readonly IQmpCommandTable _commands;
    private readonly JsonMessageReader _reader;
    private readonly TimeProvider _timeProvider;
    private readonly Channel<ReadOnlyMemory<byte>> _unsent = Channel.CreateBounded<ReadOnlyMemory<byte>>(
        new BoundedChannelOptions(QmpLimits.MaximumUnsentMessages) { SingleReader = true });

    private readonly CancellationTokenSource _ended = new();
    private volatile bool _negotiated;
    private volatile bool _endRequested;

    /// <summary>Creates a session; <see cref="RunAsync"/> begins it.</summary>
    /// <param name="stream">A duplex stream to the client; it stays the caller's.</param>
    /// <param name="commands">What the session serves.</param>
    /// <param name="timeProvider">The clock of the events' timestamps.</param>
    public QmpServerSession(Stream stream, IQmpCommandTable commands, TimeProvider timeProvider)
    {
        _stream = stream;
        _commands = commands;
        _timeProvider = timeProvider;
        _reader = new JsonMessageReader(stream);
    }

    /// <summary>Serves the client until it goes, the session is ended, or the token is cancelled.</summary>
    /// <exception cref="QmpException">The client broke a limit of the protocol, or did not read what was
    /// sent.</exception>
    /// <exception cref="IOException">The stream failed.</exception>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        using var registration = cancellationToken.UnsafeRegister(
            static state => ((CancellationTokenSource)state!).Cancel(), _ended);
        Queue(Greeting());
        var writing = RunWriteAsync();
        try
        {
            await RunCommandsAsync().ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // Ended from our own side.
        }
        finally
        {
            _unsent.Writer.TryComplete();
            await FinishWritingAsync(writing).ConfigureAwait(false);
            await _reader.CompleteAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Sends an event, unless the client has not negotiated yet. Never waits.</summary>
    /// <param name="name">For example <c>JOB_STATUS_CHANGE</c>.</param>
    /// <param name="data">Its data, or null for none.</param>
    public void SendEvent(string name, JsonObject? data)
    {
        if (!_negotiated)
        {
            return;
        }

        var now = _timeProvider.GetUtcNow();
        var microseconds = (now - DateTimeOffset.UnixEpoch).Ticks / TimeSpan.TicksPerMicrosecond;
        var message = Encode(writer =>
        {
            writer.WriteStartObject();
            writer.WriteStartObject("timestamp");
            writer.WriteNumber("seconds", microseconds / 1_000_000);
            writer.WriteNumber("microseconds", microseconds % 1_000_000);
            writer.WriteEndObject();
            writer.WriteString("event", name);
            if (data is not null)
            {
                writer.WritePropertyName("data");
                data.WriteTo(writer);
            }

            writer.WriteEndObject();
        });
        Queue(message);
    }

    /// <summary>Ends the session once the reply of the command that is being carried out has been sent:
    /// <c>quit</c>.</summary>
    public void EndAfterReply() => _endRequested = true;

    /// <summary>Ends the session at once.</summary>
    public void Dispose() => _ended.Cancel();

    private async Task FinishWritingAsync(Task writing)
    {
        try
        {
            await writing.WaitAsync(FarewellTimeout, _timeProvider).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            await _ended.CancelAsync().ConfigureAwait(false);
            await writing.ConfigureAwait(false);
        }
    }

    private byte[] Greeting() => Encode(writer =>
    {
        writer.WriteStartObject();
        writer.WriteStartObject("QMP");
        writer.WritePropertyName("version");
        _commands.Version.ToJson().WriteTo(writer);
        writer.WriteStartArray("capabilities");
        writer.WriteEndArray();
        writer.WriteEndObject();
        writer.WriteEndObject();
    });

    private async Task RunCommandsAsync()
    {
        while (!_endRequested)
        {
            try
            {
                if (await _reader.ReadAsync(_ended.Token).ConfigureAwait(false) is not { } message)
                {
                    return;
                }

                await AnswerAsync(message).ConfigureAwait(false);
            }
            catch (JsonException exception)
            {
                Queue(ErrorReply(default, QmpException.GenericError, $"JSON parse error, {exception.Message}"));
            }
        }
    }

    private async Task AnswerAsync(JsonElement message)
    {
        JsonElement id = default;
        if (message.ValueKind == JsonValueKind.Object)
        {
            message.TryGetProperty("id", out id);
        }

        try
        {
            var (command, arguments) = ReadCommand(message);
            var result = await ExecuteAsync(command, arguments).ConfigureAwait(false);
            Queue(Encode(writer =>
            {
                writer.WriteStartObject();
                writer.WritePropertyName("return");
                result.WriteTo(writer);
                WriteId(writer, id);
                writer.WriteEndObject();
            }));
        }
        catch (QmpException exception)
        {
            Queue(ErrorReply(id, exception.ErrorClass, exception.Description));
        }
    }

    private static (string Command, QmpArguments Arguments) ReadCommand(JsonElement message)
    {
        if (message.ValueKind != JsonValueKind.Object)
        {
            throw Refuse("QMP input must be a JSON object");
        }

        string? command = null;
        var arguments = QmpArguments.Empty;
        foreach (var member in message.EnumerateObject())
        {
            switch (member.Name)
            {
                case "execute":
                    command = member.Value.ValueKind == JsonValueKind.String
                        ? member.Value.GetString()
                        : throw Refuse("QMP input member 'execute' must be a string");
                    break;
                case "arguments":
                    arguments = member.Value.ValueKind == JsonValueKind.Object
                        ? QmpArguments.FromJson(member.Value)
                        : throw Refuse("QMP input member 'arguments' must be an object");
                    break;
                case "exec-oob":
                    throw Refuse(
                        "QMP input member 'exec-oob' is not supported: this monitor has no out-of-band commands");
                case "id":
                    break;
                default:
                    throw Refuse($"QMP input member '{member.Name}' is unexpected");
            }
        }

        return (command ?? throw Refuse("QMP input lacks member 'execute'"), arguments);
    }

    private async Task<JsonNode> ExecuteAsync(string command, QmpArguments arguments)
    {
        if (command == "qmp_capabilities")
        {
            return Negotiate(arguments);
        }

        if (!_negotiated)
        {
            throw new QmpException(
                QmpException.CommandNotFound, "Expecting capabilities negotiation with 'qmp_capabilities'");
        }

        return _commands.Contains(command)
            ? await _commands.ExecuteAsync(command, arguments, _ended.Token).ConfigureAwait(false)
            : throw new QmpException(QmpException.CommandNotFound, $"The command {command} has not been found");
    }

    private JsonObject Negotiate(QmpArguments arguments)
    {
        if (_negotiated)
        {
            throw new QmpException(
                QmpException.CommandNotFound, "Capabilities negotiation is already complete, command ignored");
        }

        foreach (var (name, _) in arguments.FindStringsOrObjects("enable") ?? [])
        {
            throw Refuse(name == "oob"
                ? "Capabilities not available: oob"
                : $"Parameter 'enable[0]' does not accept value '{name}'");
        }

        arguments.CheckNothingLeft();
        _negotiated = true;
        return [];
    }

    private async Task RunWriteAsync()
    {
        try
        {
            await foreach (var message in _unsent.Reader.ReadAllAsync(CancellationToken.None).ConfigureAwait(false))
            {
                await _stream.WriteAsync(message, _ended.Token).ConfigureAwait(false);
                await _stream.FlushAsync(_ended.Token).ConfigureAwait(false);
            }
        }
        catch (Exception exception) when (
            exception is OperationCanceledException or IOException or ObjectDisposedException)
        {
            // The client is gone: what is unsent has no reader any more, and the other loop must not wait for it.
            _ended.Cancel();
        }
    }

    private void Queue(ReadOnlyMemory<byte> message)
    {
        if (!_unsent.Writer.TryWrite(message))
        {
            _ended.Cancel();
        }
    }

    private static byte[] ErrorReply(JsonElement id, string errorClass, string description) => Encode(writer =>
    {
        writer.WriteStartObject();
        WriteId(writer, id);
        writer.WriteStartObject("error");
        writer.WriteString("class", errorClass);
        writer.WriteString("desc", description);
        writer.WriteEndObject();
        writer.WriteEndObject();
    });

    private static void WriteId(Utf8JsonWriter writer, JsonElement id)
    {
        if (id.ValueKind != JsonValueKind.Undefined)
        {
            writer.WritePropertyName("id");
            id.WriteTo(writer);
        }
    }

    private static byte[] Encode(Action<Utf8JsonWriter> write)
    {
        var message = new ArrayBufferWriter<byte>(256);
        using (var writer = new Utf8JsonWriter(message, JsonText.WriterOptions))
        {
            write(writer);
        }

        message.Write("\r\n"u8);
        return message.WrittenSpan.ToArray();
    }

    private static QmpException Refuse(string description) => new(QmpException.GenericError, description);
}
