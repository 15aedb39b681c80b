using System.Text;
using System.Text.Json;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qmp.Tests;

public sealed class JsonMessageReaderTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public Task Values_are_found_however_the_stream_is_cut() => TestSeed.RunAsync(async random =>
    {
        for (var round = 0; round < 200; round++)
        {
            var values = Enumerable.Range(0, random.Next(1, 12)).Select(_ => RandomValue(random, 4)).ToArray();
            var text = new StringBuilder();
            foreach (var value in values)
            {
                text.Append(value).Append(char.IsAsciiLetterOrDigit(value[^1]) || random.Next(2) == 0 ? "\r\n" : "");
            }

            var reader = new JsonMessageReader(new CutStream(Encoding.UTF8.GetBytes(text.ToString()), random));
            foreach (var value in values)
            {
                var found = await reader.ReadAsync(Cancellation);
                Assert.NotNull(found);
                using var expected = JsonDocument.Parse(value);
                Assert.True(JsonElement.DeepEquals(expected.RootElement, found.Value), value);
            }

            Assert.Null(await reader.ReadAsync(Cancellation));
        }
    });

    [Fact]
    public Task Rubbish_is_refused_and_the_next_line_is_read_again() => TestSeed.RunAsync(async random =>
    {
        for (var round = 0; round < 300; round++)
        {
            var rubbish = new byte[random.Next(1, 60)];
            random.NextBytes(rubbish);

            // A string or bracket that rubbish opened swallows what follows; a control character in a string ends it.
            var text = Encoding.UTF8.GetString(rubbish).Replace('{', '(').Replace('[', '(');
            byte[] all = [.. Encoding.UTF8.GetBytes(text), (byte)'\\', .. "\n\n"u8, .. """{"execute":"a"}"""u8];
            var reader = new JsonMessageReader(new CutStream(all, random));
            JsonElement? last = null;
            for (var read = 0; read < 200; read++)
            {
                try
                {
                    var next = await reader.ReadAsync(Cancellation);
                    if (next is null)
                    {
                        break;
                    }

                    last = next;
                }
                catch (JsonException)
                {
                    // What rubbish is for.
                }
            }

            Assert.Equal("a", last?.GetProperty("execute").GetString());
        }
    });

    [Fact]
    public async Task A_message_over_the_limit_is_given_up()
    {
        var reader =
            new JsonMessageReader(new MemoryStream(Encoding.UTF8.GetBytes($"\"{new string('x', 5000)}")), 1000);
        var error = await Assert.ThrowsAsync<QmpException>(async () => await reader.ReadAsync(Cancellation));
        Assert.Contains("limit of 1000 bytes", error.Description, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Nesting_over_the_limit_is_given_up()
    {
        var text = new string('[', QmpLimits.MaximumNesting + 1);
        var reader = new JsonMessageReader(new MemoryStream(Encoding.UTF8.GetBytes(text)));
        var error = await Assert.ThrowsAsync<QmpException>(async () => await reader.ReadAsync(Cancellation));
        Assert.Contains("nested deeper", error.Description, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_deepest_allowed_message_is_read()
    {
        var depth = QmpLimits.MaximumNesting;
        var text = new string('[', depth) + new string(']', depth);
        var reader = new JsonMessageReader(new MemoryStream(Encoding.UTF8.GetBytes(text)));
        Assert.Equal(JsonValueKind.Array, (await reader.ReadAsync(Cancellation))?.ValueKind);
    }

    [Theory]
    [InlineData("{\"a\":")]
    [InlineData("\"abc")]
    [InlineData("12")]
    public async Task An_end_inside_a_message_is_an_error(string text)
    {
        var reader = new JsonMessageReader(new MemoryStream(Encoding.UTF8.GetBytes(text)));
        await Assert.ThrowsAsync<QmpException>(async () => await reader.ReadAsync(Cancellation));
    }

    [Fact]
    public async Task A_key_given_twice_is_refused()
    {
        var reader = new JsonMessageReader(new MemoryStream("""{"a":1,"a":2}"""u8.ToArray()));
        await Assert.ThrowsAsync<JsonException>(async () => await reader.ReadAsync(Cancellation));
    }

    private static string RandomValue(Random random, int depth) => random.Next(depth > 0 ? 7 : 5) switch
    {
        0 => random.Next(-1000, 1000).ToString(System.Globalization.CultureInfo.InvariantCulture),
        1 => random.Next(2) == 0 ? "true" : "null",
        2 => "\"\"",
        3 => "\"a\\\"}]\\\\\"",
        4 => "\"ü{[ \\u00e4\"",
        5 => $"[{string.Join(',', Enumerable.Range(0, random.Next(4)).Select(_ => RandomValue(random, depth - 1)))}]",
        _ => $"{{{RandomMembers(random, depth)}}}",
    };

    private static string RandomMembers(Random random, int depth) => string.Join(
        " , ",
        Enumerable.Range(0, random.Next(4)).Select(key => $"\"k{key}\" : {RandomValue(random, depth - 1)}"));

    /// <summary>Gives its bytes in pieces of random length.</summary>
    private sealed class CutStream(byte[] content, Random random) : MemoryStream(content)
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
            base.ReadAsync(buffer[..Math.Min(buffer.Length, random.Next(1, 20))], cancellationToken);
    }
}
