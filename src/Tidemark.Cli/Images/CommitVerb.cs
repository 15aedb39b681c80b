using System.CommandLine;
using Tidemark.Cli.Terminal;
using Tidemark.Images.Committing;

namespace Tidemark.Cli.Images;

/// <summary><c>image commit</c>.</summary>
internal sealed class CommitVerb : ImageVerb
{
    private readonly Argument<string> _file;
    private readonly Option<string?> _format;
    private readonly Option<string?> _base;
    private readonly Option<bool> _keep;

    /// <summary>Creates the verb.</summary>
    public CommitVerb(CommandConsole console)
        : base(console, "commit", "Write what an overlay holds into an image below it.")
    {
        _file = Add(new Argument<string>("FILE") { Description = "The overlay." });
        _format = AddFormat();
        AddImageOptions();
        _base = AddText(
            "--base", "-b", "FILE", "The image below to write to; without, the overlay's own backing file.");
        _keep = Add(new Option<bool>("--skip-empty", "-d", "--drop")
        {
            Description = "Leave the overlay as it is, instead of emptying it.",
        });
        AddProgress();
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var progress = Progress(parsed);
        await ImageCommit.RunAsync(
            NameOf(parsed, parsed.GetRequiredValue(_file), parsed.GetValue(_format)),
            OpenOptions(parsed, parsed.GetValue(_format)),
            parsed.GetValue(_base),
            parsed.GetValue(_keep),
            progress,
            cancellationToken);
        EndProgress(progress);
        Say(parsed, "Image committed.");
        return ExitCode.Success;
    }
}
