using System.Text;
using System.Text.Json;

namespace Tidemark.Qmp.Tests;

/// <summary>The other side of a connection, with the test's own words.</summary>
internal sealed class FakeMonitor : IDisposable
{
    internal const string Greeting =
        """{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "x"}, "capabilities": ["oob"]}}""";

    private readonly InProcessStream _stream;
    private readonly JsonMessageReader _reader;

    private FakeMonitor(InProcessStream stream)
    {
        _stream = stream;
        _reader = new JsonMessageReader(stream);
    }

    internal static (FakeMonitor Monitor, InProcessStream Client) Create()
    {
        var (first, second) = InProcessStream.CreatePair();
        return (new FakeMonitor(first), second);
    }

    /// <summary>A connection that has negotiated.</summary>
    internal static async Task<(FakeMonitor Monitor, QmpConnection Connection)> ConnectAsync()
    {
        var (monitor, client) = Create();
        var opening = QmpConnection.OpenAsync(client, "qmp:fake", TimeSpan.FromSeconds(30));
        await monitor.SendAsync(Greeting);
        var (id, command) = await monitor.ReceiveAsync();
        Xunit.Assert.Equal("qmp_capabilities", command);
        await monitor.SendAsync($$"""{"return": {}, "id": {{id}}}""");
        return (monitor, await opening);
    }

    internal async Task SendAsync(string text)
    {
        await _stream.WriteAsync(Encoding.UTF8.GetBytes(text));
        await _stream.FlushAsync();
    }

    internal async Task<(long Id, string Command)> ReceiveAsync()
    {
        var message = (await _reader.ReadAsync(CancellationToken.None))!.Value;
        return (message.GetProperty("id").GetInt64(), message.GetProperty("execute").GetString()!);
    }

    internal async Task<JsonElement> ReceiveRawAsync() => (await _reader.ReadAsync(CancellationToken.None))!.Value;

    public void Dispose() => _stream.Dispose();
}
