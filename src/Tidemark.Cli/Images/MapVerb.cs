using System.CommandLine;
using System.Globalization;
using Tidemark.Cli.Terminal;
using Tidemark.Images.Mapping;
using Tidemark.Images.Opening;

namespace Tidemark.Cli.Images;

/// <summary><c>image map</c>.</summary>
internal sealed class MapVerb : ImageVerb
{
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
        var end = parsed.GetValue(_length) is { } most
            ? start + Math.Min(total - start, ParseSize(most, "max length"))
            : total;
        var json = WantsJson(parsed);
        MapText? text = json ? new MapText(Console.Output) : null;
        Console.Output.Write(json ? "[" : $"{"Offset",-16}{"Length",-16}{"Mapped to",-16}File\n");
        ImageMap map = new(image);
        List<MapEntry> entries = [];
        var window = map.WindowLength;
        for (var at = start; at < end; at += window)
        {
            await map.AppendAsync(at, Math.Min(window, end - at), entries, cancellationToken);

            // The last run of a window may go on in the next.
            var ready = entries.Count - (at + window < end ? 1 : 0);
            for (var index = 0; index < ready; index++)
            {
                if (text is not null)
                {
                    text.Append(entries[index]);
                }
                else
                {
                    WriteLine(image, entries[index]);
                }
            }

            entries.RemoveRange(0, ready);
        }

        text?.Flush();
        Console.Output.Write(json ? "]\n" : "");
        return ExitCode.Success;
    }

    // Only what is stored; zeroes that are stored too are left out, as qemu-img leaves them out.
    private void WriteLine(OpenImage image, MapEntry entry)
    {
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
            Console.Output.Write(string.Create(
                CultureInfo.InvariantCulture,
                $"{Hex(entry.Start),-16}{Hex(entry.Length),-16}{Hex(entry.Offset),-16}"
                + $"{layer.DataFileName ?? layer.FileName}\n"));
        }
    }

    // C's %#x, which writes no prefix before zero.
    private static string Hex(long value) =>
        value == 0 ? "0" : string.Create(CultureInfo.InvariantCulture, $"0x{value:x}");
}
