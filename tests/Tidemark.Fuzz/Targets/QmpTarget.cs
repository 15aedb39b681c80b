using System.Text.Json;
using Tidemark.Qmp;

namespace Tidemark.Fuzz.Targets;

/// <summary>The stream of JSON messages that a monitor sends.</summary>
internal sealed class QmpTarget : IFuzzTarget
{
    public string Name => "qmp";

    public string Description => "the messages of a QMP monitor";

    public IReadOnlyList<string> Assemblies => ["Tidemark.Qmp"];

    public TimeSpan HangLimit => TimeSpan.FromSeconds(5);

    public long MemoryLimit => 256 << 20;

    public int MaximumInput => 16 << 10;

    public IEnumerable<byte[]> Seeds()
    {
        yield return """{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}"""u8
            .ToArray();
        yield return """{"return": [{"a": 1.5e3, "b": [true, null, "\u00e9\n"]}], "id": "x"} {"error": {}}"""u8.ToArray();
    }

    public void Execute(ReadOnlySpan<byte> input) => RunAsync(input.ToArray()).GetAwaiter().GetResult();

    private static async Task RunAsync(byte[] input)
    {
        using var stream = new MemoryStream(input);
        var reader = new JsonMessageReader(stream, 8192);
        try
        {
            // Each failure has used up at least a byte of the input.
            for (var messages = 0; messages <= input.Length + 1; messages++)
            {
                try
                {
                    if (await reader.ReadAsync(default).ConfigureAwait(false) is null)
                    {
                        return;
                    }
                }
                catch (JsonException)
                {
                }
            }

            throw new InvalidOperationException("the reader does not come to an end");
        }
        catch (QmpException)
        {
        }
        finally
        {
            await reader.CompleteAsync().ConfigureAwait(false);
        }
    }
}
