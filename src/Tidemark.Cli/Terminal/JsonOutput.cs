using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Tidemark.Cli.Terminal;

/// <summary>Prints a JSON value as one line on standard output.</summary>
internal static class JsonOutput
{
    private static readonly JsonWriterOptions s_options =
        new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Prints what the given function writes.</summary>
    public static void Write(CommandConsole console, Action<Utf8JsonWriter> write)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, s_options))
        {
            write(writer);
        }

        console.Output.WriteLine(Encoding.UTF8.GetString(stream.GetBuffer().AsSpan(0, (int)stream.Length)));
    }
}
