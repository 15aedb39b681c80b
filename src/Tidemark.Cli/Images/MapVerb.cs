using System.CommandLine;
using System.Globalization;
using System.Text;
using Tidemark.Cli.Terminal;
using Tidemark.Images.Mapping;
using Tidemark.Images.Opening;

namespace Tidemark.Cli.Images;

/// <summary><c>image map</c>.</summary>
internal sealed class MapVerb : ImageVerb
{
    // Runs of one window are kept in memory; text is written when so much of it is ready.
    private const long Window = 4L << 30;
    private const int TextLength = 64 * 1024;

    private readonly Argument<string> _file;
    private readonly Option<string?> _format;
    private readonly Option<string?> _start;
    private readonly Option<string?> _length;

    /// <summary>Creates the verb.</summary>
    public MapVerb(CommandConsole console)
        : base(console, "map", "Show what of a disk is allocated, in which image of its chain, and where.")
    {
        _file = Add(new Argument<string>("FILE") { Description = "A path, an NBD URI or a json: name." });
        _format = AddFormat();
        _start = AddText("--start-offset", "-s", "OFFSET", "Begin here.");
        _length = AddText("--max-length", "-l", "LENGTH", "Describe so many bytes.");
        AddOutput();
        AddShared();
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        await using var image = await ImageOpener.OpenAsync(
            parsed.GetRequiredValue(_file), OpenOptions(parsed, parsed.GetValue(_format)), cancellationToken);
        var start = parsed.GetValue(_start) is { } from ? ParseSize(from, "start offset") : 0;
        var total = image.Top.Length;
        start = Math.Min(start, total);
        var end = parsed.GetValue(_length) is { } text
            ? start + Math.Min(total - start, ParseSize(text, "max length"))
            : total;
        var json = WantsJson(parsed);
        StringBuilder output = new(json ? "[" : $"{"Offset",-16}{"Length",-16}{"Mapped to",-16}File\n");
        ImageMap map = new(image);
        List<MapEntry> entries = [];
        var isFirst = true;
        for (var at = start; at < end; at += Window)
        {
            await map.AppendAsync(at, Math.Min(Window, end - at), entries, cancellationToken);
            var isLast = at + Window >= end;

            // The last run of a window may go on in the next.
            for (var index = 0; index < entries.Count - (isLast ? 0 : 1); index++)
            {
                Append(output, image, entries[index], json, isFirst);
                isFirst = false;
                if (output.Length > TextLength)
                {
                    Console.Output.Write(output);
                    output.Clear();
                }
            }

            entries.RemoveRange(0, entries.Count - 1);
        }

        output.Append(json ? "]\n" : "");
        Console.Output.Write(output);
        return ExitCode.Success;
    }

    private static void Append(StringBuilder output, OpenImage image, MapEntry entry, bool json, bool isFirst)
    {
        if (json)
        {
            output.Append(isFirst ? "" : ",\n").Append(CultureInfo.InvariantCulture,
                $"{{ \"start\": {entry.Start}, \"length\": {entry.Length}, \"depth\": {entry.Depth}, \"present\": ");
            Flag(entry, MapFlags.Present).Append(", \"zero\": ");
            Flag(entry, MapFlags.Zero).Append(", \"data\": ");
            Flag(entry, MapFlags.Data).Append(", \"compressed\": ");
            Flag(entry, MapFlags.Compressed);
            if (entry.Has(MapFlags.Offset))
            {
                output.Append(CultureInfo.InvariantCulture, $", \"offset\": {entry.Offset}");
            }

            output.Append('}');
            return;
        }

        if (!entry.Has(MapFlags.Data))
        {
            return;
        }

        if (!entry.Has(MapFlags.Offset))
        {
            throw new CliException(
                "File contains external, encrypted or compressed clusters: only --output json can show them");
        }

        if (!entry.Has(MapFlags.Zero))
        {
            var layer = image.Layers[entry.Depth];
            output.Append(CultureInfo.InvariantCulture,
                $"{Hex(entry.Start),-16}{Hex(entry.Length),-16}{Hex(entry.Offset),-16}"
                + $"{layer.DataFileName ?? layer.FileName}\n");
        }

        StringBuilder Flag(MapEntry of, MapFlags flag) => output.Append(of.Has(flag) ? "true" : "false");
    }

    // C's %#x, which writes no prefix before zero.
    private static string Hex(long value) =>
        value == 0 ? "0" : string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");
}
