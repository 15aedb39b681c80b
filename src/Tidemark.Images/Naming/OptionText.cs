using System.Text;
using System.Text.Json;

namespace Tidemark.Images.Naming;

/// <summary>Texts of the form <c>KEY=VALUE,…</c>, as QEMU's options are written: a comma in a value is written twice,
/// and a key without a value is on.</summary>
public static class OptionText
{
    /// <summary>Takes a text apart.</summary>
    public static IEnumerable<(string Key, string Value)> Split(string text)
    {
        for (var at = 0; at < text.Length;)
        {
            var part = TakePart(text, ref at);
            if (part.Length == 0)
            {
                continue;
            }

            var equals = part.IndexOf('=', StringComparison.Ordinal);
            yield return equals < 0 ? (part, "on") : (part[..equals], part[(equals + 1)..]);
        }
    }

    /// <summary>The <c>json:</c> name that means the same as the options of <c>--image-opts</c>.</summary>
    /// <exception cref="ImageException">A key comes twice, or the text is no list of options.</exception>
    public static string ToImageName(string text)
    {
        using MemoryStream stream = new();
        using (Utf8JsonWriter writer = new(stream))
        {
            HashSet<string> seen = new(StringComparer.Ordinal);
            writer.WriteStartObject();
            foreach (var (key, value) in Split(text))
            {
                if (!seen.Add(key))
                {
                    throw ImageException.Invalid($"'{key}' comes twice in '{text}'");
                }

                writer.WriteString(key, value);
            }

            writer.WriteEndObject();
            if (seen.Count == 0)
            {
                throw ImageException.Invalid("an image's options must not be empty");
            }
        }

        return $"json:{Encoding.UTF8.GetString(stream.ToArray())}";
    }

    private static string TakePart(string text, ref int at)
    {
        StringBuilder part = new();
        while (at < text.Length)
        {
            var letter = text[at++];
            if (letter == ',')
            {
                if (at == text.Length || text[at] != ',')
                {
                    break;
                }

                at++;
            }

            part.Append(letter);
        }

        return part.ToString();
    }
}
