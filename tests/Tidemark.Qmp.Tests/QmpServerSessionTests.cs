using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qmp.Tests;

public sealed class QmpServerSessionTests
{
    private const string Negotiation = """{"execute":"qmp_capabilities"}""";

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task It_greets_with_the_version_and_no_capabilities()
    {
        var replies = await TalkAsync("");
        Assert.Equal(
            """{"QMP":{"version":{"qemu":{"micro":3,"minor":2,"major":7},"package":"test"},"capabilities":[]}}""",
            Assert.Single(replies));
    }

    [Theory]
    [InlineData("""{"execute":"echo"}""", "CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'")]
    [InlineData("""{"execute":"nonesuch"}""", "CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'")]
    [InlineData("[1]", "GenericError", "QMP input must be a JSON object")]
    [InlineData("5 ", "GenericError", "QMP input must be a JSON object")]
    [InlineData("\"a\"", "GenericError", "QMP input must be a JSON object")]
    [InlineData("""{"execute":"echo","foo":1}""", "GenericError", "QMP input member 'foo' is unexpected")]
    [InlineData("""{"arguments":{}}""", "GenericError", "QMP input lacks member 'execute'")]
    [InlineData("""{"execute":5}""", "GenericError", "QMP input member 'execute' must be a string")]
    [InlineData(
        """{"execute":"qmp_capabilities","arguments":5}""", "GenericError", "QMP input member 'arguments' must be an object")]
    [InlineData("""{"execute":"qmp_capabilities","arguments":{"x":1}}""", "GenericError", "Parameter 'x' is unexpected")]
    public async Task What_is_wrong_is_refused_in_QEMUs_words(string message, string errorClass, string description)
    {
        var replies = await TalkAsync(message);
        Assert.Equal(new JsonObject
        {
            ["error"] = new JsonObject { ["class"] = errorClass, ["desc"] = description },
        }.ToJsonString(new JsonSerializerOptions { Encoder = JsonText.WriterOptions.Encoder }), replies[1]);
    }

    [Theory]
    [InlineData("nul\n")]
    [InlineData("}")]
    [InlineData("{\"execute\"}")]
    [InlineData("{\"execute\":\"echo\",}")]
    [InlineData("{\"execute\":\"echo\",\"execute\":\"echo\"}")]
    [InlineData("{\"execute\":\"echo\n")]
    public async Task What_is_no_JSON_is_refused_and_the_next_command_is_answered(string message)
    {
        var replies = await TalkAsync(message + Negotiation);
        Assert.Contains("JSON parse error", replies[1], StringComparison.Ordinal);
        Assert.Equal("""{"return":{}}""", replies[^1]);
    }

    [Fact]
    public async Task Commands_are_answered_in_their_order_with_their_ids()
    {
        var replies = await TalkAsync(
            Negotiation
            + """{"execute":"echo","id":1,"arguments":{"text":"ä"}}"""
            + """{"execute":"echo","id":{"a":[1]},"arguments":{"text":"b"}} {"execute":"nonesuch","id":"x"}"""
            + Negotiation);
        Assert.Equal(
            [
                """{"return":{}}""",
                """{"return":"ä","id":1}""",
                """{"return":"b","id":{"a":[1]}}""",
                """{"id":"x","error":{"class":"CommandNotFound","desc":"The command nonesuch has not been found"}}""",
                """{"error":{"class":"CommandNotFound","desc":"Capabilities negotiation is already complete, command ignored"}}""",
            ],
            replies[1..]);
    }

    [Fact]
    public async Task Events_of_a_command_come_before_its_reply_and_none_before_the_negotiation()
    {
        var table = new EchoTable();
        var (server, client) = InProcessStream.CreatePair();
        using var session = new QmpServerSession(server, table, TimeProvider.System);
        table.Session = session;
        session.SendEvent("EARLY", null);
        var running = session.RunAsync(Cancellation);
        await using (var connection = await QmpConnection.OpenAsync(client, "test", cancellationToken: Cancellation))
        {
            using var events = connection.Subscribe();
            await connection.ExecuteAsync(new QmpCommand("event"), Cancellation);
            Assert.True(events.Events.TryRead(out var seen));
            Assert.Equal("HAPPENED", seen.Name);
            Assert.Equal(1, seen.Data.GetProperty("n").GetInt32());
            Assert.True((DateTimeOffset.UtcNow - seen.Timestamp).Duration() < TimeSpan.FromMinutes(1));
            Assert.False(events.Events.TryRead(out _));
        }

        await running;
    }

    [Fact]
    public async Task The_session_can_be_ended_after_a_reply()
    {
        var table = new EchoTable();
        var (server, client) = InProcessStream.CreatePair();
        using var session = new QmpServerSession(server, table, TimeProvider.System);
        table.Session = session;
        var running = session.RunAsync(Cancellation);
        await using var connection = await QmpConnection.OpenAsync(client, "test", cancellationToken: Cancellation);
        await connection.ExecuteAsync(new QmpCommand("end"), Cancellation);
        await running;
        server.Dispose();
        await connection.Closed.WaitAsync(Cancellation);
    }

    [Fact]
    public Task Random_bytes_never_break_more_than_their_own_session() => TestSeed.RunAsync(async random =>
    {
        const string Letters = "{}[]\":,\\exectuqmp_apbils0195 \n\tnul";
        for (var round = 0; round < 300; round++)
        {
            var text = new StringBuilder(random.Next(2) == 0 ? Negotiation : "");
            for (var length = random.Next(200); length > 0; length--)
            {
                text.Append(Letters[random.Next(Letters.Length)]);
            }

            try
            {
                await TalkAsync(text.ToString());
            }
            catch (QmpException exception)
            {
                // It ended inside a message.
                Assert.Equal(QmpException.ProtocolError, exception.ErrorClass);
            }
        }
    });

    /// <summary>Sends a text, ends the stream, and returns the lines that came.</summary>
    private static async Task<string[]> TalkAsync(string text)
    {
        var output = new MemoryStream();
        var table = new EchoTable();
        using var session = new QmpServerSession(
            new HalfStream(new MemoryStream(Encoding.UTF8.GetBytes(text)), output), table, TimeProvider.System);
        table.Session = session;
        await session.RunAsync(Cancellation);
        return Encoding.UTF8.GetString(output.ToArray()).Split("\r\n", StringSplitOptions.RemoveEmptyEntries);
    }

    private sealed class EchoTable : IQmpCommandTable
    {
        public QmpVersion Version { get; } = new(7, 2, 3, "test");

        public QmpServerSession? Session { get; set; }

        public bool Contains(string command) => command is "echo" or "event" or "end";

        public Task<JsonNode> ExecuteAsync(string command, QmpArguments arguments, CancellationToken cancellationToken)
        {
            var text = arguments.FindString("text") ?? "";
            arguments.CheckNothingLeft();
            if (command == "event")
            {
                Session!.SendEvent("HAPPENED", new JsonObject { ["n"] = 1 });
            }
            else if (command == "end")
            {
                Session!.EndAfterReply();
            }

            return Task.FromResult<JsonNode>(JsonValue.Create(text));
        }
    }

    /// <summary>Reads from one stream and writes to another.</summary>
    private sealed class HalfStream(Stream input, Stream output) : MemoryStream
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            input.ReadAsync(buffer, cancellationToken);

        public override ValueTask WriteAsync(
            ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
            output.WriteAsync(buffer, cancellationToken);
    }
}
