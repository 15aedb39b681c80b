using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Tests.Terminal;

public sealed class ResultTableTests
{
    [Fact]
    public void Columns_are_as_wide_as_their_widest_cell()
    {
        var table = ResultTable.Create("disk", ">size", "kind");
        table.AddCells("disk0", "1.0 GiB", "full");
        table.AddCells("a", "64 KiB", "incremental");
        using var console = new TestConsole();

        table.WriteTo(console.Console, indent: 2);

        Assert.Equal(
            """
              disk      size  kind
              ─────  ───────  ───────────
              disk0  1.0 GiB  full
              a       64 KiB  incremental

            """,
            WithoutTrailingSpaces(console.Output));
    }

    [Fact]
    public void Nothing_is_broken_or_cut_and_without_a_terminal_not_coloured()
    {
        var path = string.Join(' ', Enumerable.Repeat("a long name of a directory", 15));
        var table = ResultTable.Create("disk", "file");
        table.AddCells("disk0", path);
        using var console = new TestConsole();
        table.WriteTo(console.Console);
        Assert.Equal($"disk0  {path}", WithoutTrailingSpaces(console.Output).Split('\n')[2]);
        Assert.DoesNotContain('\u001b', console.Output);
    }

    [Fact]
    public void Brackets_in_a_cell_are_no_markup()
    {
        var table = ResultTable.Create("disk", "kind");
        table.AddCells("[red]a[/]", "");
        table.AddCells("", "[");
        using var console = new TestConsole();
        table.WriteTo(console.Console);
        Assert.EndsWith("\n[red]a[/]\n           [\n", WithoutTrailingSpaces(console.Output));
    }

    [Fact]
    public void A_row_with_more_cells_than_columns_is_refused() =>
        Assert.Throws<InvalidOperationException>(() => ResultTable.Create("a").AddCells("one", "too many"));

    private static string WithoutTrailingSpaces(string text) =>
        string.Join('\n', text.Split('\n').Select(line => line.TrimEnd(' ')));
}
