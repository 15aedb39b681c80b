using System.CommandLine;
using Tidemark.Cli.Terminal;
using Tidemark.Images.Rebasing;

namespace Tidemark.Cli.Images;

/// <summary><c>image rebase</c>.</summary>
internal sealed class RebaseVerb : ImageVerb
{
    private readonly Argument<string> _file;
    private readonly Option<string?> _format;
    private readonly Option<string> _backing;
    private readonly Option<string?> _backingFormat;
    private readonly Option<bool> _unsafe;

    /// <summary>Creates the verb.</summary>
    public RebaseVerb(CommandConsole console)
        : base(console, "rebase", "Give an image another backing file; what the disk reads as stays.")
    {
        _file = Add(new Argument<string>("FILE") { Description = "The overlay." });
        _format = AddFormat();
        AddImageOptions();
        _backing = Add(new Option<string>("--backing", "-b")
        {
            HelpName = "FILE",
            Description = "The new backing file, as its name is to stand in the image; '' for none.",
            Required = true,
        });
        _backingFormat = AddText("--backing-format", "-F", "raw|qcow2", "The new backing file's format.");
        _backingFormat.Aliases.Add("-B");
        _unsafe = Add(new Option<bool>("--backing-unsafe", "-u")
        {
            Description = "Change the name only: you know that the content is the same. Nothing else is opened.",
        });
        AddProgress();
        AddShared();
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var progress = Progress(parsed);
        await ImageRebase.RunAsync(
            NameOf(parsed, parsed.GetRequiredValue(_file), parsed.GetValue(_format)),
            OpenOptions(parsed, parsed.GetValue(_format)),
            new RebaseOptions
            {
                BackingFile = parsed.GetRequiredValue(_backing),
                BackingFormat = parsed.GetValue(_backingFormat),
                OnlyName = parsed.GetValue(_unsafe),
                Report = progress,
            },
            cancellationToken);
        EndProgress(progress);
        return ExitCode.Success;
    }
}
