using System.CommandLine;
using Tidemark.Cli.Terminal;
using Tidemark.Images.Creating;
using Tidemark.Images.Resizing;

namespace Tidemark.Cli.Images;

/// <summary><c>image resize</c>.</summary>
internal sealed class ResizeVerb : ImageVerb
{
    private readonly Argument<string> _file;
    private readonly Argument<string> _size;
    private readonly Option<string?> _format;
    private readonly Option<bool> _shrink;
    private readonly Option<string> _preallocation;

    /// <summary>Creates the verb.</summary>
    public ResizeVerb(CommandConsole console)
        : base(console, "resize", "Change the size of a disk.")
    {
        _file = Add(new Argument<string>("FILE") { Description = "A path." });
        _size = Add(new Argument<string>("[+|-]SIZE") { Description = "The new size, or how much larger or smaller." });
        _format = AddFormat();
        AddImageOptions();
        _shrink = Add(new Option<bool>("--shrink") { Description = "Let the disk become smaller; its end is lost." });
        _preallocation = Add(new Option<string>("--preallocation")
        {
            HelpName = "off|metadata|falloc|full",
            Description = "What of the new part is allocated in advance.",
            DefaultValueFactory = _ => "off",
        });
        _preallocation.AcceptOnlyFromAmong("off", "metadata", "falloc", "full");
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var size = parsed.GetRequiredValue(_size);
        var sign = size.StartsWith('+') ? 1 : size.StartsWith('-') ? -1 : 0;
        await ImageResize.RunAsync(
            NameOf(parsed, parsed.GetRequiredValue(_file), parsed.GetValue(_format)),
            OpenOptions(parsed, parsed.GetValue(_format)),
            ParseSize(sign == 0 ? size : size[1..], "image size"),
            sign,
            parsed.GetValue(_shrink),
            CreateOptions.ParsePreallocation(parsed.GetRequiredValue(_preallocation)),
            cancellationToken);
        Say(parsed, "Image resized.");
        return ExitCode.Success;
    }
}
