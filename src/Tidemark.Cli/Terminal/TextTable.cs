using System.Text;

namespace Tidemark.Cli.Terminal;

/// <summary>A table for people: a heading, a rule, rows; columns as wide as their widest cell.</summary>
/// <remarks>A column whose heading begins with '>' is aligned to the right. Lines are never broken: a pipe has no width.</remarks>
internal sealed class TextTable
{
    private const string Gap = "  ";

    private readonly string[] _headings;
    private readonly bool[] _alignsRight;
    private readonly List<string[]> _rows = [];

    /// <summary>Creates a table.</summary>
    public TextTable(params string[] headings)
    {
        _alignsRight = [.. headings.Select(heading => heading.StartsWith('>'))];
        _headings = [.. headings.Select(heading => heading.TrimStart('>'))];
    }

    /// <summary>Adds a row: one cell for each column.</summary>
    public void Add(params string[] cells)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(cells.Length, _headings.Length);
        _rows.Add(cells);
    }

    /// <summary>Writes the table.</summary>
    /// <param name="writer">Where to.</param>
    /// <param name="style">How the heading is set off.</param>
    /// <param name="indent">What each line begins with.</param>
    public void Write(TextWriter writer, Style style, string indent = "")
    {
        var widths = _headings.Select((heading, column) =>
            _rows.Select(row => row[column].Length).Append(heading.Length).Max()).ToArray();
        writer.WriteLine(indent + style.Bold(Line(_headings, widths)));
        writer.WriteLine(indent + style.Dim(string.Join(Gap, widths.Select(width => new string('─', width)))));
        foreach (var row in _rows)
        {
            writer.WriteLine(indent + Line(row, widths));
        }
    }

    private string Line(string[] cells, int[] widths)
    {
        var line = new StringBuilder();
        for (var column = 0; column < cells.Length; column++)
        {
            var cell = cells[column];
            line.Append(column == 0 ? "" : Gap);
            line.Append(_alignsRight[column] ? cell.PadLeft(widths[column]) : cell.PadRight(widths[column]));
        }

        return line.ToString().TrimEnd();
    }
}
