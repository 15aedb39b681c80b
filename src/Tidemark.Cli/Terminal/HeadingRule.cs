using Spectre.Console;
using Spectre.Console.Rendering;

namespace Tidemark.Cli.Terminal;

/// <summary>A border that is a rule below each heading and nothing else; two spaces between the columns.</summary>
internal sealed class HeadingRule : TableBorder
{
    /// <summary>The one there need be.</summary>
    public static HeadingRule Instance { get; } = new();

    /// <inheritdoc/>
    public override string GetPart(TableBorderPart part) => part switch
    {
        TableBorderPart.HeaderBottom => "─",
        TableBorderPart.HeaderSeparator or TableBorderPart.HeaderBottomSeparator => "  ",
        TableBorderPart.CellSeparator => "  ",
        _ => "",
    };
}
