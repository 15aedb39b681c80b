using System.Net;
using System.Net.Sockets;

namespace Tidemark.Engine.Daemon;

/// <summary>A monitor on a socket: serves one client after another, never two at a time, as QEMU does.</summary>
internal sealed class MonitorListener : IAsyncDisposable
{
    private const int Backlog = 16;

    private readonly StorageEngine _engine;
    private readonly Socket _socket;
    private readonly string? _path;
    private readonly CancellationTokenSource _ending = new();
    private readonly TaskCompletionSource _mayServe = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _running = Task.CompletedTask;

    private MonitorListener(StorageEngine engine, Socket socket, string? path)
    {
        _engine = engine;
        _socket = socket;
        _path = path;
    }

    /// <summary>Begins to listen; with <c>wait</c>, returns when the first client has come. Nobody is served before
    /// <see cref="BeginServing"/>.</summary>
    /// <exception cref="StorageDaemonException">The address cannot be listened on.</exception>
    internal static async Task<MonitorListener> StartAsync(
        StorageEngine engine, ChardevOptions options, CancellationToken cancellationToken)
    {
        Socket socket;
        try
        {
            socket = options.Path is { } path
                ? ListenUnix(path)
                : await ListenTcpAsync(options, cancellationToken).ConfigureAwait(false);
        }
        catch (SocketException exception)
        {
            var address = options.Path ?? $"{options.Host}:{options.Port}";
            throw new StorageDaemonException(
                $"--chardev {options.Id}: cannot listen on {address}: {exception.Message}", exception);
        }

        var listener = new MonitorListener(engine, socket, options.Path);
        var first = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        listener._running = listener.RunAsync(first);
        if (options.Wait)
        {
            await first.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
        }

        return listener;
    }

    /// <summary>Lets clients in: when all options have been carried out, so that nobody sees half a set-up.</summary>
    internal void BeginServing() => _mayServe.TrySetResult();

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await _ending.CancelAsync().ConfigureAwait(false);
        _socket.Dispose();
        await _running.ConfigureAwait(false);
        if (_path is not null)
        {
            File.Delete(_path);
        }

        _ending.Dispose();
    }

    private async Task RunAsync(TaskCompletionSource first)
    {
        try
        {
            while (true)
            {
                var client = await _socket.AcceptAsync(_ending.Token).ConfigureAwait(false);
                first.TrySetResult();
                var stream = new NetworkStream(client, ownsSocket: true);
                await using (stream.ConfigureAwait(false))
                {
                    await _mayServe.Task.WaitAsync(_ending.Token).ConfigureAwait(false);
                    await _engine.ServeAsync(stream, _ending.Token).ConfigureAwait(false);
                }
            }
        }
        catch (Exception exception) when (
            exception is OperationCanceledException or ObjectDisposedException or SocketException)
        {
            // The end of the daemon.
            first.TrySetCanceled();
        }
    }

    // A socket file that a daemon before this one left behind is replaced; any other file is an error of the bind.
    private static Socket ListenUnix(string path)
    {
        if (IsDeadSocket(path))
        {
            File.Delete(path);
        }

        return Listen(new Socket(
            AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified), new UnixDomainSocketEndPoint(path));
    }

    private static bool IsDeadSocket(string path)
    {
        if (!File.Exists(path))
        {
            return false;
        }

        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
            return false;
        }
        catch (SocketException exception)
        {
            return exception.SocketErrorCode == SocketError.ConnectionRefused;
        }
    }

    private static async Task<Socket> ListenTcpAsync(ChardevOptions options, CancellationToken cancellationToken)
    {
        var addresses = await Dns.GetHostAddressesAsync(options.Host!, cancellationToken).ConfigureAwait(false);
        var address = addresses.Length > 0
            ? addresses[0]
            : throw new StorageDaemonException($"--chardev {options.Id}: host '{options.Host}' has no address");
        return Listen(
            new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp),
            new IPEndPoint(address, options.Port));
    }

    private static Socket Listen(Socket socket, EndPoint endPoint)
    {
        try
        {
            socket.Bind(endPoint);
            socket.Listen(Backlog);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
