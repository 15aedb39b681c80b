using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Tests.Terminal;

public sealed class TextTableTests
{
    [Fact]
    public void Columns_are_as_wide_as_their_widest_cell()
    {
        var table = new TextTable("disk", ">size", "kind");
        table.Add("disk0", "1.0 GiB", "full");
        table.Add("a", "64 KiB", "incremental");
        var writer = new StringWriter();

        table.Write(writer, Style.Plain, "  ");

        Assert.Equal(
            """
              disk      size  kind
              ─────  ───────  ───────────
              disk0  1.0 GiB  full
              a       64 KiB  incremental

            """,
            writer.ToString());
    }

    [Fact]
    public void An_optional_column_is_shown_when_a_row_has_something_in_it()
    {
        var writer = new StringWriter();
        var table = new TextTable("disk", "why?");
        table.Add("a", "");
        table.Write(writer, Style.Plain);
        Assert.DoesNotContain("why", writer.ToString());
        table.Add("b", "lost");
        table.Write(writer, Style.Plain);
        Assert.EndsWith("disk  why\n────  ────\na\nb     lost\n", writer.ToString());
    }

    [Fact]
    public void A_row_of_another_width_is_refused() =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new TextTable("a", "b").Add("only one"));
}
