using System.CommandLine;
using System.Globalization;
using System.Runtime.CompilerServices;
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
        AddImageOptions();
        _start = AddText("--start-offset", "-s", "OFFSET", "Begin here.");
        _length = AddText("--max-length", "-l", "LENGTH", "Describe so many bytes.");
        AddOutput();
        AddShared();
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        await using var image = await ImageOpener.OpenAsync(
            NameOf(parsed, parsed.GetRequiredValue(_file), parsed.GetValue(_format)),
            OpenOptions(parsed, parsed.GetValue(_format)),
            cancellationToken);
        var start = parsed.GetValue(_start) is { } from ? ParseSize(from, "start offset") : 0;
        var total = image.Top.Length;
        start = Math.Min(start, total);
        var end = parsed.GetValue(_length) is { } most
            ? start + Math.Min(total - start, ParseSize(most, "max length"))
            : total;
        var json = WantsJson(parsed);
        MapText? text = json ? new MapText(Console.Output) : null;
        Console.Output.Write(json ? "[" : $"{"Offset",-16}{"Length",-16}{"Mapped to",-16}File\n");
        MapEntry? last = null;

        // A run of one window may go on in the next.
        await foreach (var entries in ReadAsync(image, start, end, cancellationToken))
        {
            foreach (var entry in entries)
            {
                if (last is { } before && before.IsContinuedBy(entry))
                {
                    last = before with { Length = before.Length + entry.Length };
                    continue;
                }

                Write(text, image, last);
                last = entry;
            }
        }

        Write(text, image, last);
        text?.Flush();
        Console.Output.Write(json ? "]\n" : "");
        return ExitCode.Success;
    }

    // The next window is read while the caller writes the one before.
    private static async IAsyncEnumerable<List<MapEntry>> ReadAsync(
        OpenImage image, long start, long end, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        ImageMap map = new(image);
        var window = map.WindowLength;
        List<MapEntry> current = [], next = [];
        Task Read(long at, List<MapEntry> entries) => Task.Run(
            () => map.AppendAsync(at, Math.Min(window, end - at), entries, cancellationToken).AsTask(),
            cancellationToken);
        var reading = start < end ? Read(start, next) : Task.CompletedTask;
        for (var at = start; at < end; at += window)
        {
            await reading;
            (current, next) = (next, current);
            next.Clear();
            reading = at + window < end ? Read(at + window, next) : Task.CompletedTask;
            try
            {
                yield return current;
            }
            finally
            {
                // Nothing reads the image any more when it is closed, however the caller ends.
                await reading.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private void Write(MapText? text, OpenImage image, MapEntry? entry)
    {
        if (entry is not { } run)
        {
            return;
        }

        if (text is not null)
        {
            text.Append(run);
        }
        else
        {
            WriteLine(image, run);
        }
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
