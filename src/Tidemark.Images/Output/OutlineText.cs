using System.Globalization;
using System.Text;

namespace Tidemark.Images.Output;

/// <summary>Writes a report as QEMU shows a format's own facts to people: one member a line, deeper ones
/// indented.</summary>
internal static class OutlineText
{
    private const int IndentWidth = 4;

    /// <summary>Appends the members of an object.</summary>
    internal static void Append(StringBuilder text, OutputDict dict, int level)
    {
        foreach (var (name, value) in dict.Ordered())
        {
            AppendMember(text, name.Replace('-', ' '), value, level);
        }
    }

    private static void AppendMember(StringBuilder text, string name, object value, int level)
    {
        text.Append(' ', level * IndentWidth).Append(name).Append(':');
        switch (value)
        {
            case OutputDict dict:
                text.Append('\n');
                Append(text, dict, level + 1);
                break;
            case string single:
                text.Append(' ').Append(single).Append('\n');
                break;
            case bool flag:
                text.Append(flag ? " true\n" : " false\n");
                break;
            case IEnumerable<object> list:
                text.Append('\n');
                var index = 0;
                foreach (var item in list)
                {
                    AppendMember(text, string.Create(CultureInfo.InvariantCulture, $"[{index++}]"), item, level + 1);
                }

                break;
            default:
                text.Append(CultureInfo.InvariantCulture, $" {value}\n");
                break;
        }
    }
}
