using System.CommandLine;
using Tidemark.Cli.Terminal;
using Tidemark.Images.Creating;
using Tidemark.Images.Formats;

namespace Tidemark.Cli.Images;

/// <summary><c>image create</c>.</summary>
internal sealed class CreateVerb : ImageVerb
{
    private readonly Argument<string?> _file;
    private readonly Argument<string?> _size;
    private readonly Option<string?> _format;
    private readonly Option<string[]> _options;
    private readonly Option<string?> _backing;
    private readonly Option<string?> _backingFormat;
    private readonly Option<bool> _unsafe;

    /// <summary>Creates the verb.</summary>
    public CreateVerb(CommandConsole console)
        : base(console, "create", "Create an empty image.")
    {
        _file = Add(new Argument<string?>("FILE")
        {
            Description = "A path, or an NBD URI.",
            Arity = ArgumentArity.ZeroOrOne,
        });
        _size = Add(new Argument<string?>("SIZE")
        {
            Description = "The disk's size, with k, M, G, T, P or E; the backing file's without.",
            Arity = ArgumentArity.ZeroOrOne,
        });
        _format = AddText("--format", "-f", "raw|qcow2", "The new image's format; raw without.");
        _options = CreateOptionsOption.AddTo(Command);
        _backing = AddText("--backing", "-b", "FILE", "The backing file, as its name is to stand in the image.");
        _backingFormat = AddText("--backing-format", "-F", "raw|qcow2", "The backing file's format.");
        _backingFormat.Aliases.Add("-B");
        _unsafe = Add(new Option<bool>("--backing-unsafe", "-u") { Description = "Do not open the backing file." });
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        if (WriteOptionsHelp(parsed.GetValue(_format), parsed.GetValue(_options)))
        {
            if (parsed.GetValue(_file) is null)
            {
                Console.Output.WriteLine(
                    "\nThe protocol level may support further options.\n"
                    + "Specify the target filename to include those options.");
            }

            return ExitCode.Success;
        }

        var file = parsed.GetValue(_file) ?? throw new UsageException("Expecting image file name");
        var options = CreateOptions.Parse(
            parsed.GetValue(_format) ?? ImageFormat.Raw, parsed.GetValue(_options) ?? [], file);
        options = options with
        {
            Length = parsed.GetValue(_size) is { } size ? ParseSize(size, "image size") : options.Length,
            BackingFile = parsed.GetValue(_backing) ?? options.BackingFile,
            BackingFormat = parsed.GetValue(_backingFormat) ?? options.BackingFormat,
        };
        if (options.BackingFile is "")
        {
            throw new UsageException($"{file}: Expected backing file name, got empty string");
        }

        var complete = await ImageCreate.CompleteAsync(
            file, options, parsed.GetValue(_unsafe) ? null : OpenOptions(parsed, null), cancellationToken);
        Say(parsed, complete.Announce(file));
        await ImageCreate.CreateAsync(file, complete, cancellationToken);
        return ExitCode.Success;
    }
}
