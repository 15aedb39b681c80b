using System.CommandLine;
using Tidemark.Cli.Terminal;
using Tidemark.Images.Bitmaps;
using Tidemark.Images.Opening;

namespace Tidemark.Cli.Images;

/// <summary><c>image bitmap</c>.</summary>
internal sealed class BitmapVerb : ImageVerb
{
    private static readonly (string Name, BitmapActionKind Kind, string Description)[] s_actions =
    [
        ("--add", BitmapActionKind.Add, "Create the bitmap, empty and recording."),
        ("--remove", BitmapActionKind.Remove, "Take the bitmap out of the image, also when it cannot be read."),
        ("--clear", BitmapActionKind.Clear, "Take all marks away."),
        ("--enable", BitmapActionKind.Enable, "Record from now on."),
        ("--disable", BitmapActionKind.Disable, "Record no more."),
    ];

    private readonly Argument<string> _file;
    private readonly Argument<string> _bitmap;
    private readonly Option<string?> _format;
    private readonly Option<string?> _granularity;
    private readonly Option<string[]> _merge;
    private readonly Option<string?> _source;
    private readonly Option<string?> _sourceFormat;

    /// <summary>Creates the verb.</summary>
    public BitmapVerb(CommandConsole console)
        : base(console, "bitmap", "Change a persistent bitmap of an image, step by step in the order given.")
    {
        _file = Add(new Argument<string>("FILE") { Description = "The image." });
        _bitmap = Add(new Argument<string>("BITMAP") { Description = "The bitmap's name." });
        foreach (var (name, _, description) in s_actions)
        {
            Add(new Option<bool>(name) { Description = description, Arity = ArgumentArity.Zero });
        }

        _merge = Add(new Option<string[]>("--merge") { HelpName = "BITMAP", Description = "Add another one's marks." });
        _format = AddFormat();
        AddImageOptions();
        _granularity = AddText("--granularity", "-g", "SIZE", "Bytes for each bit of a new bitmap; a power of two.");
        _source = AddText("--source-file", "-b", "FILE", "The image that merged bitmaps are taken from.");
        _sourceFormat = AddText("--source-format", "-F", "FORMAT", "That image's format.");
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var actions = ReadActions(parsed);
        var source = parsed.GetValue(_source);
        if (actions.Count == 0)
        {
            throw new UsageException(
                "Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
        }

        // Zero means the default, as it does to qemu-img.
        var granularity = parsed.GetValue(_granularity) is { } text ? ParseSize(text, "granularity") : (long?)null;
        granularity = granularity == 0 ? null : granularity;
        if (granularity is not null && actions.All(action => action.Kind != BitmapActionKind.Add))
        {
            throw new UsageException("granularity only supported with --add");
        }

        if (source is not null && actions.All(action => action.Kind != BitmapActionKind.Merge))
        {
            throw new UsageException("Merge bitmap source file only supported with --merge");
        }

        if (source is null && parsed.GetValue(_sourceFormat) is not null)
        {
            throw new UsageException("-F only supported with -b");
        }

        OpenImage? from = null;
        try
        {
            from = source is null ? null : await ImageOpener.OpenAsync(
                source,
                OpenOptions(parsed, parsed.GetValue(_sourceFormat)) with { WithoutBacking = true },
                cancellationToken);
            var dropped = await ImageBitmaps.RunAsync(
                NameOf(parsed, parsed.GetRequiredValue(_file), parsed.GetValue(_format)),
                OpenOptions(parsed, parsed.GetValue(_format)),
                parsed.GetRequiredValue(_bitmap),
                actions,
                granularity,
                from,
                cancellationToken);
            if (dropped is not null)
            {
                Console.WriteWarning(dropped);
            }
        }
        finally
        {
            if (from is not null)
            {
                await from.DisposeAsync();
            }
        }

        return ExitCode.Success;
    }

    // In the order of the command line, which the parser's values do not keep.
    private List<BitmapAction> ReadActions(ParseResult parsed)
    {
        List<BitmapAction> actions = [];
        Queue<string> merges = new(parsed.GetValue(_merge) ?? []);
        foreach (var token in parsed.Tokens.Where(token => token.Type == System.CommandLine.Parsing.TokenType.Option))
        {
            if (token.Value == _merge.Name)
            {
                actions.Add(new BitmapAction(BitmapActionKind.Merge, merges.Dequeue()));
            }
            else if (Array.FindIndex(s_actions, action => action.Name == token.Value) is var index && index >= 0)
            {
                actions.Add(new BitmapAction(s_actions[index].Kind));
            }
        }

        return actions;
    }
}
