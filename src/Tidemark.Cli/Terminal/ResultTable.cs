using Spectre.Console;

namespace Tidemark.Cli.Terminal;

/// <summary>The look that all tables of the program share; Spectre.Console draws them.</summary>
internal static class ResultTable
{
    private static readonly Style s_heading = new(decoration: Decoration.Bold);
    private static readonly Style s_rule = new(decoration: Decoration.Dim);

    /// <summary>A table without rows. A column whose heading begins with '>' is aligned to the right.</summary>
    public static Table Create(params string[] headings)
    {
        var table = new Table { Border = HeadingRule.Instance, BorderStyle = s_rule };
        foreach (var heading in headings)
        {
            table.AddColumn(new TableColumn(new Text(heading.TrimStart('>'), s_heading))
            {
                Alignment = heading.StartsWith('>') ? Justify.Right : Justify.Left,
                Padding = new Padding(0),
            });
        }

        return table;
    }

    /// <summary>Adds a row of plain text: brackets in a name are no markup.</summary>
    public static void AddCells(this Table table, params string[] cells) =>
        table.AddRow(cells.Select(cell => new Text(cell)));

    /// <summary>Writes the table where results go.</summary>
    /// <param name="table">The table.</param>
    /// <param name="console">Where to; no cell is ever broken or cut.</param>
    /// <param name="indent">How many spaces each line begins with.</param>
    public static void WriteTo(this Table table, CommandConsole console, int indent = 0) =>
        console.Results.Write(new Padder(table, new Padding(indent, 0, 0, 0)));
}
