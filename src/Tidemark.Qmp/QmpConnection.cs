using System.Buffers;
using System.Net.Sockets;
using System.Text.Json;

namespace Tidemark.Qmp;

// One connection to a monitor. Three parts share it:
//
//   callers        take a number, note themselves in the table of pending commands, and write under a lock
//   RunReadAsync   reads messages until the stream ends; a reply goes to the caller with its number, an event to every
//                  subscription. Nothing here waits for a caller, so events before a reply are delivered first
//   CloseAsync     ends it, once, with the first error; everything pending then fails with that error
//
// A caller that stops waiting does not take its command back: the hypervisor still carries it out, and its reply is
// dropped when it comes.

/// <summary>A client of a monitor over a byte stream: QEMU, its storage daemon, or the embedded engine.</summary>
/// <remarks>Thread-safe. QMP: QEMU's docs/interop/qmp-spec, "Protocol Specification".</remarks>
public sealed class QmpConnection : IMonitor
{
    /// <summary>How long a monitor may take to greet when the caller does not say.</summary>
    public static readonly TimeSpan DefaultGreetingTimeout = TimeSpan.FromSeconds(10);

    private readonly Stream _stream;
    private readonly JsonMessageReader _reader;
    private readonly CancellationTokenSource _ended = new();
    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly TaskCompletionSource _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _running = Task.CompletedTask;

    private readonly Lock _gate = new();

    // Guarded by _gate.
    private readonly Dictionary<long, PendingCommand> _pending = [];
    private QmpEventSubscription[] _subscriptions = [];
    private long _lastId;
    private bool _isClosed;
    private QmpException? _firstError;

    private QmpConnection(Stream stream, string name)
    {
        _stream = stream;
        Name = name;
        _reader = new JsonMessageReader(stream);
    }

    /// <summary>What the monitor is called in messages: <c>qmp:/run/vm.sock</c>.</summary>
    public string Name { get; }

    /// <summary>The version that the monitor greeted with.</summary>
    public QmpVersion Version { get; private set; } = new(0, 0, 0, "");

    /// <inheritdoc/>
    public Task Closed => _closed.Task;

    /// <summary>Connects to a monitor's socket and negotiates.</summary>
    /// <param name="endPoint">Where it listens.</param>
    /// <param name="greetingTimeout">How long connecting, greeting and negotiating may take together; null for
    /// <see cref="DefaultGreetingTimeout"/>. QEMU serves one client of a monitor at a time and lets the next one wait
    /// without a word, so this is the only way to learn that the monitor is taken.</param>
    /// <param name="timeProvider">The clock of the deadline; null for the system's.</param>
    /// <param name="cancellationToken">Ends the attempt.</param>
    /// <exception cref="QmpException">Nobody listens there, it does not greet in time, or it speaks no QMP.</exception>
    public static async Task<QmpConnection> ConnectAsync(
        QmpEndPoint endPoint,
        TimeSpan? greetingTimeout = null,
        TimeProvider? timeProvider = null,
        CancellationToken cancellationToken = default)
    {
        Socket socket;
        try
        {
            socket = await endPoint.ConnectAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (SocketException exception)
        {
            throw new QmpException(
                QmpException.MonitorClosed,
                $"could not connect to the monitor at {endPoint}: {exception.Message}", innerException: exception);
        }

        var stream = new NetworkStream(socket, ownsSocket: true);
        return await OpenAsync(stream, endPoint.ToString(), greetingTimeout, timeProvider, cancellationToken)
            .ConfigureAwait(false);
    }

    /// <summary>Waits for the greeting on a stream that is connected to a monitor, and negotiates.</summary>
    /// <param name="stream">A duplex stream. It belongs to the connection from here on, also when this fails.</param>
    /// <param name="name">What the monitor is called in messages.</param>
    /// <param name="greetingTimeout">As for <see cref="ConnectAsync"/>.</param>
    /// <param name="timeProvider">The clock of the deadline; null for the system's.</param>
    /// <param name="cancellationToken">Ends the attempt.</param>
    /// <exception cref="QmpException">It does not greet in time, or speaks no QMP.</exception>
    public static async Task<QmpConnection> OpenAsync(
        Stream stream,
        string name,
        TimeSpan? greetingTimeout = null,
        TimeProvider? timeProvider = null,
        CancellationToken cancellationToken = default)
    {
        var connection = new QmpConnection(stream, name);
        var timeout = greetingTimeout ?? DefaultGreetingTimeout;
        using var deadline = new CancellationTokenSource(timeout, timeProvider ?? TimeProvider.System);
        using var both = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            connection.Version = await connection.ReadGreetingAsync(both.Token).ConfigureAwait(false);
            connection._running = connection.RunReadAsync();
            await connection.ExecuteAsync(new QmpCommand("qmp_capabilities"), both.Token).ConfigureAwait(false);
            return connection;
        }
        catch (Exception exception)
        {
            await connection.DisposeAsync().ConfigureAwait(false);
            if (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested)
            {
                throw new QmpException(
                    QmpException.MonitorClosed,
                    $"the monitor at {name} does not greet within {timeout.TotalSeconds} s: another client is "
                    + "connected, "
                    + "or its process hangs. A monitor serves one client at a time; close the other one or use a "
                    + "second monitor",
                    innerException: exception);
            }

            throw;
        }
    }

    /// <inheritdoc/>
    public async Task<JsonElement> ExecuteAsync(QmpCommand command, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var pending = new PendingCommand(command.Name);
        long id;
        lock (_gate)
        {
            if (_isClosed)
            {
                throw ClosedError(command.Name);
            }

            if (_pending.Count >= QmpLimits.MaximumPendingCommands)
            {
                throw new QmpException(
                    QmpException.GenericError, $"{_pending.Count} commands already wait for replies", command.Name);
            }

            id = ++_lastId;
            _pending.Add(id, pending);
        }

        try
        {
            await WriteAsync(Encode(command, id), cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // The message was not begun: nothing will answer it.
            lock (_gate)
            {
                _pending.Remove(id);
            }

            throw;
        }
        catch (Exception exception) when (
            exception is IOException or ObjectDisposedException or OperationCanceledException)
        {
            Close(new QmpException(
                QmpException.MonitorClosed, $"the monitor at {Name} is gone: {exception.Message}", null, exception));
        }

        return await pending.Reply.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public QmpEventSubscription Subscribe()
    {
        var subscription = new QmpEventSubscription(Unsubscribe);
        lock (_gate)
        {
            if (!_isClosed)
            {
                _subscriptions = [.. _subscriptions, subscription];
                return subscription;
            }
        }

        subscription.Complete();
        return subscription;
    }

    /// <summary>Closes the connection; commands that wait for replies fail.</summary>
    public async ValueTask DisposeAsync()
    {
        Close(null);
        await _running.ConfigureAwait(false);
        await _stream.DisposeAsync().ConfigureAwait(false);
        await _reader.CompleteAsync().ConfigureAwait(false);
    }

    private async Task<QmpVersion> ReadGreetingAsync(CancellationToken cancellationToken)
    {
        JsonElement? greeting;
        try
        {
            greeting = await _reader.ReadAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is IOException or JsonException)
        {
            throw new QmpException(
                QmpException.ProtocolError,
                $"what listens at {Name} does not greet as a QMP monitor: {exception.Message}", null, exception);
        }

        if (greeting is not { } value)
        {
            throw new QmpException(QmpException.MonitorClosed, $"the monitor at {Name} closed before its greeting");
        }

        return value.ValueKind == JsonValueKind.Object
            && value.TryGetProperty("QMP", out var qmp) && qmp.ValueKind == JsonValueKind.Object
            && qmp.TryGetProperty("version", out var version)
            ? QmpVersion.Read(version)
            : throw new QmpException(
                QmpException.ProtocolError, $"what listens at {Name} does not greet as a QMP monitor");
    }

    private static byte[] Encode(QmpCommand command, long id)
    {
        var message = new ArrayBufferWriter<byte>(256);
        using (var writer = new Utf8JsonWriter(message, JsonText.WriterOptions))
        {
            writer.WriteStartObject();
            writer.WriteString("execute", command.Name);
            if (command.Arguments is { } arguments)
            {
                writer.WritePropertyName("arguments");
                arguments.WriteTo(writer);
            }

            writer.WriteNumber("id", id);
            writer.WriteEndObject();
        }

        message.Write("\n"u8);
        return message.WrittenSpan.ToArray();
    }

    // Once begun, a message is written to its end whatever becomes of the caller: half a message would put every later
    // one out of step.
    private async Task WriteAsync(byte[] message, CancellationToken cancellationToken)
    {
        await _writing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await _stream.WriteAsync(message, _ended.Token).ConfigureAwait(false);
            await _stream.FlushAsync(_ended.Token).ConfigureAwait(false);
        }
        finally
        {
            _writing.Release();
        }
    }

    private async Task RunReadAsync()
    {
        QmpException? error = null;
        try
        {
            while (await _reader.ReadAsync(_ended.Token).ConfigureAwait(false) is { } message)
            {
                Route(message);
            }
        }
        catch (OperationCanceledException)
        {
            // Our own side closed; whoever did that has said why.
        }
        catch (IOException exception) when (exception.InnerException is SocketException
        {
            SocketErrorCode: SocketError.ConnectionReset,
        })
        {
            // A hypervisor that quits, or is killed, does not always take leave: that is an end, not a fault. Commands
            // that still wait are told that the monitor was closed.
        }
        catch (QmpException exception)
        {
            error = new QmpException(exception.ErrorClass, $"{Name}: {exception.Description}", null, exception);
        }
        catch (JsonException exception)
        {
            error = new QmpException(
                QmpException.ProtocolError, $"{Name} sent no JSON: {exception.Message}", null, exception);
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            error = new QmpException(
                QmpException.MonitorClosed, $"the monitor at {Name} is gone: {exception.Message}", null, exception);
        }

        Close(error);
    }

    private void Route(JsonElement message)
    {
        if (message.ValueKind != JsonValueKind.Object)
        {
            throw new QmpException(QmpException.ProtocolError, "a message is not an object");
        }

        if (message.TryGetProperty("event", out var name))
        {
            Publish(ReadEvent(name, message));
            return;
        }

        var id = message.TryGetProperty("id", out var number) && number.ValueKind == JsonValueKind.Number
            && number.TryGetInt64(out var value) ? value : 0;
        PendingCommand? pending;
        lock (_gate)
        {
            if (!_pending.Remove(id, out pending))
            {
                throw new QmpException(QmpException.ProtocolError, "a reply belongs to no command of ours");
            }
        }

        if (message.TryGetProperty("return", out var result))
        {
            pending.Reply.TrySetResult(result);
            return;
        }

        pending.Reply.TrySetException(ReadError(message, pending.Name));
    }

    private static QmpEvent ReadEvent(JsonElement name, JsonElement message)
    {
        if (name.ValueKind != JsonValueKind.String)
        {
            throw new QmpException(QmpException.ProtocolError, "an event's name is not a string");
        }

        message.TryGetProperty("data", out var data);
        var timestamp = DateTimeOffset.UnixEpoch;
        if (message.TryGetProperty("timestamp", out var time) && time.ValueKind == JsonValueKind.Object
            && time.TryGetProperty("seconds", out var seconds) && seconds.ValueKind == JsonValueKind.Number
            && seconds.TryGetInt64(out var whole)
            && time.TryGetProperty("microseconds", out var rest) && rest.ValueKind == JsonValueKind.Number
            && rest.TryGetInt64(out var micro)
            && whole is >= 0 and <= MaximumSeconds && micro is >= 0 and < 1_000_000)
        {
            timestamp = DateTimeOffset.FromUnixTimeSeconds(whole).AddMicroseconds(micro);
        }

        return new QmpEvent(name.GetString()!, data, timestamp);
    }

    // The last second of the year 9999.
    private const long MaximumSeconds = 253402300799;

    private static QmpException ReadError(JsonElement message, string command)
    {
        if (message.TryGetProperty("error", out var error) && error.ValueKind == JsonValueKind.Object
            && error.TryGetProperty("class", out var errorClass) && errorClass.ValueKind == JsonValueKind.String
            && error.TryGetProperty("desc", out var description) && description.ValueKind == JsonValueKind.String)
        {
            return new QmpException(errorClass.GetString()!, description.GetString()!, command);
        }

        return new QmpException(
            QmpException.ProtocolError, "the reply has neither 'return' nor a well-formed 'error'", command);
    }

    private void Publish(QmpEvent value)
    {
        QmpEventSubscription[] subscriptions;
        lock (_gate)
        {
            subscriptions = _subscriptions;
        }

        foreach (var subscription in subscriptions)
        {
            subscription.Publish(value);
        }
    }

    private void Unsubscribe(QmpEventSubscription subscription)
    {
        lock (_gate)
        {
            _subscriptions = Array.FindAll(_subscriptions, other => !ReferenceEquals(other, subscription));
        }
    }

    private void Close(QmpException? error)
    {
        PendingCommand[] pending;
        QmpEventSubscription[] subscriptions;
        lock (_gate)
        {
            if (_isClosed)
            {
                return;
            }

            _isClosed = true;
            _firstError = error;
            pending = [.. _pending.Values];
            _pending.Clear();
            subscriptions = _subscriptions;
            _subscriptions = [];
        }

        // Before the commands fail: whoever sees one fail and then asks finds the monitor closed.
        if (error is null)
        {
            _closed.TrySetResult();
        }
        else
        {
            // Looked at here so that an error that nobody waits for is no unobserved one.
            _closed.TrySetException(error);
            _ = _closed.Task.Exception;
        }

        _ended.Cancel();
        foreach (var command in pending)
        {
            command.Reply.TrySetException(ClosedError(command.Name));
        }

        foreach (var subscription in subscriptions)
        {
            subscription.Complete();
        }
    }

    private QmpException ClosedError(string command) =>
        _firstError is { } first
            ? new QmpException(first.ErrorClass, first.Description, command, first)
            : new QmpException(QmpException.MonitorClosed, $"the monitor at {Name} was closed", command);

    private sealed class PendingCommand(string name)
    {
        internal string Name { get; } = name;

        internal TaskCompletionSource<JsonElement> Reply { get; } =
            new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
