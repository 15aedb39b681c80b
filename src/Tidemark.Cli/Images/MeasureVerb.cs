using System.CommandLine;
using Tidemark.Cli.Terminal;
using Tidemark.Images.Creating;
using Tidemark.Images.Formats;
using Tidemark.Images.Measuring;
using Tidemark.Images.Opening;

namespace Tidemark.Cli.Images;

/// <summary><c>image measure</c>.</summary>
internal sealed class MeasureVerb : ImageVerb
{
    private readonly Argument<string?> _file;
    private readonly Option<string?> _size;
    private readonly Option<string?> _format;
    private readonly Option<string?> _targetFormat;
    private readonly Option<string[]> _options;
    private readonly Option<string?> _snapshot;

    /// <summary>Creates the verb.</summary>
    public MeasureVerb(CommandConsole console)
        : base(console, "measure", "Say how large a new image will be.")
    {
        _file = Add(new Argument<string?>("FILE")
        {
            Description = "The image that would be converted.",
            Arity = ArgumentArity.ZeroOrOne,
        });
        _size = AddText("--size", "-s", "SIZE", "The size of an empty disk, instead of a FILE.");
        _format = AddFormat();
        _targetFormat = AddText("--target-format", "-O", "raw|qcow2", "The new image's format; raw without.");
        _options = CreateOptionsOption.AddTo(Command);
        _snapshot = AddText("--snapshot", "-l", "NAME", "An internal snapshot of FILE in place of its content.");
        AddImageOptions();
        AddOutput();
        AddShared();
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var (file, size) = (parsed.GetValue(_file), parsed.GetValue(_size));
        if (file is null && parsed.GetValue(_snapshot) is not null)
        {
            throw new UsageException("--size and -l exclude each other: an empty disk has no snapshots");
        }

        if (file is null == size is null)
        {
            throw new UsageException("Either --size N or one filename must be specified.");
        }

        var options = CreateOptions.Parse(
            parsed.GetValue(_targetFormat) ?? ImageFormat.Raw, parsed.GetValue(_options) ?? [], file ?? "");
        MeasureReport report;
        if (file is null)
        {
            report = ImageMeasure.OfSize(ParseSize(size!, "image size"), options);
        }
        else
        {
            await using var image = await ImageOpener.OpenAsync(
                NameOf(parsed, file, parsed.GetValue(_format)),
                OpenOptions(parsed, parsed.GetValue(_format)) with
                {
                    Snapshot = parsed.GetValue(_snapshot) is { } name ? SnapshotSelector.Parse(name) : null,
                },
                cancellationToken);
            report = await ImageMeasure.OfImageAsync(image, options, cancellationToken);
        }

        if (WantsJson(parsed))
        {
            WriteJson(report.ToDict());
        }
        else
        {
            Console.Output.Write(report.ToText());
        }

        return ExitCode.Success;
    }
}
