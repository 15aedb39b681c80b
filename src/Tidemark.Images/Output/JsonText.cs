using System.Globalization;
using System.Text;

namespace Tidemark.Images.Output;

/// <summary>Writes a report as QEMU writes JSON: four spaces a level, ASCII only, empty lists and objects on two
/// lines.</summary>
public static class JsonText
{
    private const int IndentWidth = 4;

    /// <summary>The value as text, without a final line break.</summary>
    public static string Format(object value)
    {
        StringBuilder text = new();
        Append(text, value, 0);
        return text.ToString();
    }

    private static void Append(StringBuilder text, object value, int level)
    {
        switch (value)
        {
            case OutputDict dict:
                AppendAll(text, '{', '}', dict.Ordered(), level, (to, member) =>
                {
                    AppendString(to, member.Name);
                    to.Append(": ");
                    Append(to, member.Value, level + 1);
                });
                break;
            case string single:
                AppendString(text, single);
                break;
            case bool flag:
                text.Append(flag ? "true" : "false");
                break;
            case IEnumerable<object> list:
                AppendAll(text, '[', ']', list, level, (to, item) => Append(to, item, level + 1));
                break;
            default:
                text.Append(Convert.ToString(value, CultureInfo.InvariantCulture));
                break;
        }
    }

    private static void AppendAll<T>(
        StringBuilder text, char open, char close, IEnumerable<T> items, int level, Action<StringBuilder, T> append)
    {
        text.Append(open);
        var first = true;
        foreach (var item in items)
        {
            text.Append(first ? "\n" : ",\n").Append(' ', (level + 1) * IndentWidth);
            append(text, item);
            first = false;
        }

        text.Append('\n').Append(' ', level * IndentWidth).Append(close);
    }

    private static void AppendString(StringBuilder text, string value)
    {
        text.Append('"');
        foreach (var character in value)
        {
            _ = character switch
            {
                '"' => text.Append("\\\""),
                '\\' => text.Append("\\\\"),
                '\b' => text.Append("\\b"),
                '\f' => text.Append("\\f"),
                '\n' => text.Append("\\n"),
                '\r' => text.Append("\\r"),
                '\t' => text.Append("\\t"),
                < ' ' or > '~' => text.Append(CultureInfo.InvariantCulture, $"\\u{(int)character:X4}"),
                _ => text.Append(character),
            };
        }

        text.Append('"');
    }
}
