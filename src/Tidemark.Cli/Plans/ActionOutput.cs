using System.Globalization;
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

        console.Output.Write(Plain(Encoding.UTF8.GetString(stream.GetBuffer().AsSpan(0, (int)stream.Length))) + "\n");
    }

    // Only what JSON demands is escaped, with small digits, as libvirt prints it: the writer escapes more than that.
    private static string Plain(string json)
    {
        var text = new StringBuilder(json.Length);
        for (var index = 0; index < json.Length; index++)
        {
            if (json[index] != '\\')
            {
                text.Append(json[index]);
            }
            else if (json[++index] != 'u')
            {
                text.Append('\\').Append(json[index]);
            }
            else
            {
                var digits = json.AsSpan(index + 1, 4);
                var character = (char)ushort.Parse(digits, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
                _ = character < ' '
                    ? text.Append(CultureInfo.InvariantCulture, $"\\u{(int)character:x4}")
                    : text.Append(character);
                index += digits.Length;
            }
        }

        return text.ToString();
    }
}
