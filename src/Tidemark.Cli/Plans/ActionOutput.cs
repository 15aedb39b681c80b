using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Tidemark.Backup.Actions;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Plans;

/// <summary>Prints actions of a transaction as JSON: two spaces of indent, <c>[]</c> when there is none.</summary>
internal static class ActionOutput
{
    private static readonly JsonWriterOptions s_options = new()
    {
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        Indented = true,
        IndentCharacter = ' ',
        IndentSize = 2,
        NewLine = "\n",
    };

    public static void Write(CommandConsole console, IReadOnlyList<TransactionAction> actions)
    {
        using var stream = new MemoryStream();
        using (var writer = new Utf8JsonWriter(stream, s_options))
        {
            writer.WriteStartArray();
            foreach (var action in actions)
            {
                action.ToJson().WriteTo(writer);
            }

            writer.WriteEndArray();
        }

        console.Output.Write(Encoding.UTF8.GetString(stream.GetBuffer().AsSpan(0, (int)stream.Length)) + "\n");
    }
}
