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
    public void A_row_of_another_width_is_refused() =>
        Assert.Throws<ArgumentOutOfRangeException>(() => new TextTable("a", "b").Add("only one"));
}
