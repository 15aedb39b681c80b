namespace Tidemark.Cli.Terminal;

/// <summary>A table for people: a heading, a rule, rows; columns as wide as their widest cell.</summary>
/// <remarks>
/// A column whose heading begins with '>' is aligned to the right; one whose heading ends with '?' is left out when all
/// its cells are empty. Lines are never broken: a pipe has no width.
/// </remarks>
internal sealed class TextTable
{
    private const string Gap = "  ";

    private readonly string[] _headings;
    private readonly bool[] _alignsRight;
    private readonly bool[] _isOptional;
    private readonly List<string[]> _rows = [];

    /// <summary>Creates a table.</summary>
    public TextTable(params string[] headings)
    {
        _alignsRight = [.. headings.Select(heading => heading.StartsWith('>'))];
        _isOptional = [.. headings.Select(heading => heading.EndsWith('?'))];
        _headings = [.. headings.Select(heading => heading.TrimStart('>').TrimEnd('?'))];
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
        var shown = Enumerable.Range(0, _headings.Length)
            .Where(column => !_isOptional[column] || _rows.Exists(row => row[column].Length > 0)).ToArray();
        var widths = _headings.Select((heading, column) =>
            _rows.Select(row => row[column].Length).Append(heading.Length).Max()).ToArray();
        writer.WriteLine(indent + style.Bold(Line(_headings, shown, widths)));
        writer.WriteLine(indent + style.Dim(string.Join(Gap, shown.Select(column => new string('─', widths[column])))));
        foreach (var row in _rows)
        {
            writer.WriteLine(indent + Line(row, shown, widths));
        }
    }

    private string Line(string[] cells, int[] shown, int[] widths) => string.Join(Gap, shown.Select(column =>
        _alignsRight[column] ? cells[column].PadLeft(widths[column]) : cells[column].PadRight(widths[column])))
            .TrimEnd();
}
