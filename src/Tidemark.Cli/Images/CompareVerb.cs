using System.CommandLine;
using Tidemark.Blocks.Nodes;
using Tidemark.Cli.Terminal;
using Tidemark.Images.Comparing;
using Tidemark.Images.Opening;

namespace Tidemark.Cli.Images;

/// <summary><c>image compare</c>.</summary>
internal sealed class CompareVerb : ImageVerb
{
    /// <summary>The verb's name.</summary>
    public const string Name = "compare";

    /// <summary>The exit code when an image could not be opened.</summary>
    public const int Failed = 2;

    private const int ReadFailed = 4;

    private readonly Argument<string[]> _files;
    private readonly Option<string?> _format;
    private readonly Option<string?> _secondFormat;
    private readonly Option<bool> _strict;

    /// <summary>Creates the verb.</summary>
    public CompareVerb(CommandConsole console)
        : base(
            console,
            Name,
            "Compare the content of two images. Exit code: 0 equal, 1 different, 2 and more an error.")
    {
        _files = Add(new Argument<string[]>("FILE1 FILE2")
        {
            Description = "Paths, NBD URIs or json: names.",
            Arity = new ArgumentArity(2, 2),
        });
        _format = AddText("--a-format", "-f", "FORMAT", "The first image's format.");
        _secondFormat = AddText("--b-format", "-F", "FORMAT", "The second image's format.");
        _strict = Add(new Option<bool>("--strict", "-s")
        {
            Description = "Sizes and allocation must be the same too.",
        });
        AddImageOptions();
        AddProgress();
        AddShared();
    }

    /// <inheritdoc/>
    protected override int FailureCode => Failed;

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var files = parsed.GetRequiredValue(_files);
        var code = Failed;
        try
        {
            await using var first = await ImageOpener.OpenAsync(
                NameOf(parsed, files[0], parsed.GetValue(_format)),
                OpenOptions(parsed, parsed.GetValue(_format)),
                cancellationToken);
            await using var second = await ImageOpener.OpenAsync(
                NameOf(parsed, files[1], parsed.GetValue(_secondFormat)),
                OpenOptions(parsed, parsed.GetValue(_secondFormat)),
                cancellationToken);
            code = ReadFailed;
            var progress = Progress(parsed);
            var outcome = await ImageCompare.RunAsync(
                first, second, parsed.GetValue(_strict), progress, cancellationToken);
            EndProgress(progress);
            foreach (var line in Describe(outcome))
            {
                Say(parsed, line);
            }

            return outcome.IsSame ? ExitCode.Success : ExitCode.Failure;
        }
        catch (BlockException exception)
        {
            Console.WriteError(ErrorText.Describe(exception));
            return code;
        }
    }

    private static string[] Describe(CompareOutcome outcome) => outcome.Difference switch
    {
        CompareDifference.None => ["Images are identical."],
        CompareDifference.OnlyLength => ["Warning: Image size mismatch!", "Images are identical."],
        CompareDifference.Length => ["Strict mode: Image size mismatch!"],
        CompareDifference.Allocation =>
            [FormattableString.Invariant($"Strict mode: Offset {outcome.Offset} block status mismatch!")],
        _ => [FormattableString.Invariant($"Content mismatch at offset {outcome.Offset}!")],
    };
}
