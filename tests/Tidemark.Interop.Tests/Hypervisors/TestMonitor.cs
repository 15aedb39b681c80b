using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Tidemark.Interop.Tests.Hypervisors;

/// <summary>The tests' own connection to a monitor: one command after the other; events are passed over.</summary>
internal sealed class TestMonitor : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly SemaphoreSlim _turn = new(1);
    private readonly Socket _socket;
    private readonly StreamReader _reader;
    private readonly NetworkStream _stream;

    private TestMonitor(Socket socket)
    {
        _socket = socket;
        _stream = new NetworkStream(socket);
        _reader = new StreamReader(_stream);
    }

    /// <summary>Connects as soon as the hypervisor listens.</summary>
    public static async Task<TestMonitor> ConnectAsync(string path, CancellationToken token)
    {
        for (var attempt = 0; ; attempt++)
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), token);
                var monitor = new TestMonitor(socket);
                await monitor._reader.ReadLineAsync(token);
                await monitor.ExecuteAsync("qmp_capabilities", null, token);
                return monitor;
            }
            catch (SocketException) when (attempt < 400)
            {
                socket.Dispose();
                await Task.Delay(TimeSpan.FromMilliseconds(25), token);
            }
        }
    }

    public async Task<JsonElement> ExecuteAsync(string name, JsonObject? arguments, CancellationToken token)
    {
        var command = new JsonObject { ["execute"] = name };
        if (arguments is not null)
        {
            command["arguments"] = arguments;
        }

        await _turn.WaitAsync(token);
        try
        {
            await _stream.WriteAsync(Encoding.UTF8.GetBytes(command.ToJsonString() + "\n"), token);
            return await ReplyAsync(name, token).WaitAsync(s_patience, token);
        }
        catch (TimeoutException)
        {
            throw new TimeoutException($"the hypervisor did not answer {name} in {s_patience}: it hangs");
        }
        finally
        {
            _turn.Release();
        }
    }

    public void Dispose()
    {
        _reader.Dispose();
        _stream.Dispose();
        _socket.Dispose();
        _turn.Dispose();
    }

    private async Task<JsonElement> ReplyAsync(string command, CancellationToken token)
    {
        while (true)
        {
            var line = await _reader.ReadLineAsync(token) ?? throw new EndOfStreamException("the monitor hung up");
            using var message = JsonDocument.Parse(line);
            if (message.RootElement.TryGetProperty("return", out var result))
            {
                return result.Clone();
            }

            if (message.RootElement.TryGetProperty("error", out var error))
            {
                throw new InvalidOperationException($"{command}: {error.GetProperty("desc").GetString()}");
            }
        }
    }
}
