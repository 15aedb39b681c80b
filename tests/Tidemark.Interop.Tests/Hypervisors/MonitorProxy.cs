using System.Net.Sockets;
using System.Text;

namespace Tidemark.Interop.Tests.Hypervisors;

/// <summary>
/// Stands between the program and a monitor, so that a test can act at an exact moment of a run: right after the
/// reply to a command, before the program has seen it.
/// </summary>
internal sealed class MonitorProxy : IAsyncDisposable
{
    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly CancellationTokenSource _stop = new();
    private readonly string _monitor;
    private readonly Task _accepting;
    private readonly List<Socket> _open = [];

    public MonitorProxy(string path, string monitor)
    {
        Path = path;
        _monitor = monitor;
        _listener.Bind(new UnixDomainSocketEndPoint(path));
        _listener.Listen();
        _accepting = AcceptAsync();
    }

    public string Path { get; }

    /// <summary>The command after whose reply <see cref="Interrupt"/> is called, once.</summary>
    public string After { get; set; } = "transaction";

    /// <summary>What the test does just before that command is passed on.</summary>
    public Action? Before { get; set; }

    /// <summary>What the test does then; the reply is passed on when it has ended and returned true.</summary>
    public Func<Task<bool>>? Interrupt { get; set; }

    /// <summary>What is passed on instead of a command's line.</summary>
    public Func<string, string>? Rewrite { get; set; }

    /// <summary>Told of each command before it is passed on; false: it is not, and the connection is closed.</summary>
    public Func<string, Task<bool>>? OnCommand { get; set; }

    /// <summary>The same for each reply.</summary>
    public Func<string, Task<bool>>? OnReply { get; set; }

    /// <summary>What an interruption failed with; the connection was closed then.</summary>
    public Exception? Failure { get; private set; }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _listener.Dispose();
        HangUp();
        await Task.WhenAny(_accepting);
        _stop.Dispose();
        File.Delete(Path);
    }

    private void HangUp()
    {
        lock (_open)
        {
            _open.ForEach(socket => socket.Dispose());
            _open.Clear();
        }
    }

    private async Task AcceptAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            var near = await _listener.AcceptAsync(_stop.Token);
            var far = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            lock (_open)
            {
                _open.AddRange([near, far]);
            }

            _ = ServeAsync(near, far);
        }
    }

    private async Task ServeAsync(Socket near, Socket far)
    {
        try
        {
            await far.ConnectAsync(new UnixDomainSocketEndPoint(_monitor), _stop.Token);
            var waiting = new Lock();
            var armed = false;
            var there = PumpAsync(near, far, async line =>
            {
                if (OnCommand is { } onCommand && line.Contains("\"execute\"") && !await onCommand(line))
                {
                    return false;
                }

                var names = line.Contains($"\"{After}\"");
                if (names)
                {
                    Before?.Invoke();
                }

                lock (waiting)
                {
                    armed |= names;
                }

                return true;
            }, line => Rewrite?.Invoke(line) ?? line);
            var back = PumpAsync(far, near, async line =>
            {
                var isReply = line.Contains("\"return\"") || line.Contains("\"error\"");
                if (OnReply is { } onReply && isReply && !await onReply(line))
                {
                    return false;
                }

                bool now;
                lock (waiting)
                {
                    now = armed && isReply;
                    armed &= !now;
                }

                if (!now || Interrupt is not { } interrupt)
                {
                    return true;
                }

                Interrupt = null;
                try
                {
                    return await interrupt();
                }
                catch (Exception exception)
                {
                    Failure = exception;
                    return false;
                }
            });
            await Task.WhenAny(there, back);
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // Either side hung up, or the hypervisor is gone: both ends of this connection are closed below.
        }
        finally
        {
            near.Dispose();
            far.Dispose();
        }
    }

    private static async Task PumpAsync(
        Socket from, Socket to, Func<string, Task<bool>> pass, Func<string, string>? rewrite = null)
    {
        try
        {
            using var reader = new StreamReader(new NetworkStream(from));
            await using var writer = new NetworkStream(to);
            while (await reader.ReadLineAsync() is { } line)
            {
                if (!await pass(line))
                {
                    return;
                }

                await writer.WriteAsync(Encoding.UTF8.GetBytes((rewrite?.Invoke(line) ?? line) + "\n"));
            }
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            // The connection was closed; the other pump ends too.
        }
    }
}
