using System.CommandLine;
using Tidemark.Cli.Terminal;
using Tidemark.Images.Creating;
using Tidemark.Images.Formats;
using Tidemark.Images.Naming;
using Tidemark.Images.Opening;
using Tidemark.Images.Output;

namespace Tidemark.Cli.Images;

/// <summary>What the verbs of <c>tidemark image</c> have in common: qemu-img's options, and its exit codes.</summary>
internal abstract class ImageVerb
{
    private Option<bool>? _shared;
    private Option<bool>? _progress;
    private Option<bool>? _json;
    private Option<string>? _output;
    private Option<bool>? _imageOptions;

    /// <summary>Creates a verb.</summary>
    protected ImageVerb(CommandConsole console, string name, string description)
    {
        Console = console;
        Command = new Command(name, description);
        Command.SetAction(async (parsed, cancellationToken) =>
        {
            try
            {
                return await RunAsync(parsed, cancellationToken);
            }
            catch (UsageException exception)
            {
                console.WriteError(exception.Message);
                return FailureCode;
            }
        });
        NoFollow = Add(new Option<bool>("--no-follow")
        {
            Description = "Refuse images that name a backing file or data file, instead of opening what they name.",
        });
        Quiet = Add(new Option<bool>("--quiet", "-q") { Description = "Print only errors." });
    }

    /// <summary>The verb for the tree.</summary>
    public Command Command { get; }

    /// <summary>How the verb ends when it could not do its work.</summary>
    protected virtual int FailureCode => ExitCode.Failure;

    /// <summary>The program's streams.</summary>
    protected CommandConsole Console { get; }

    /// <summary>The option <c>-q</c>.</summary>
    protected Option<bool> Quiet { get; }

    private Option<bool> NoFollow { get; }

    /// <summary>Does the verb's work.</summary>
    protected abstract Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken);

    /// <summary>Adds an option to the verb.</summary>
    protected T Add<T>(T option)
        where T : Option
    {
        Command.Add(option);
        return option;
    }

    /// <summary>Adds an argument to the verb.</summary>
    protected Argument<T> Add<T>(Argument<T> argument)
    {
        Command.Add(argument);
        return argument;
    }

    /// <summary>Adds an option that takes a text.</summary>
    protected Option<string?> AddText(string name, string alias, string help, string description) =>
        Add(new Option<string?>(name, alias) { HelpName = help, Description = description });

    /// <summary>Adds <c>-f</c>.</summary>
    protected Option<string?> AddFormat() =>
        AddText("--format", "-f", "FORMAT", "The image's format, raw or qcow2; found by its first bytes without.");

    /// <summary>Adds <c>--image-opts</c>.</summary>
    protected void AddImageOptions() => _imageOptions = Add(new Option<bool>("--image-opts")
    {
        Description = "Images are described by options, driver=qcow2,file.filename=PATH, in place of a name.",
    });

    /// <summary>Adds <c>-U</c>.</summary>
    protected void AddShared() => _shared = Add(new Option<bool>("--force-share", "-U")
    {
        Description = "Read the image although somebody writes it; what is read may be torn.",
    });

    /// <summary>Adds <c>-p</c>.</summary>
    protected void AddProgress() =>
        _progress = Add(new Option<bool>("--progress", "-p") { Description = "Show how far it is, in percent." });

    /// <summary>Adds <c>--output</c> and <c>--json</c>.</summary>
    protected void AddOutput()
    {
        _json = Add(new Option<bool>("--json") { Description = "The same as --output json." });
        _output = Add(new Option<string>("--output")
        {
            HelpName = "human|json",
            Description = "The form of the report, qemu-img's in both.",
            DefaultValueFactory = _ => "human",
        });
        _output.AcceptOnlyFromAmong("human", "json");
    }

    /// <summary>Whether JSON is wanted.</summary>
    protected bool WantsJson(ParseResult parsed) =>
        parsed.GetValue(_json!) || parsed.GetRequiredValue(_output!) == "json";

    /// <summary>The name of an image by what the command line says; with <c>--image-opts</c> that is options.</summary>
    /// <exception cref="UsageException">A format is given besides.</exception>
    protected string NameOf(ParseResult parsed, string text, string? format = null)
    {
        if (_imageOptions is null || !parsed.GetValue(_imageOptions))
        {
            return text;
        }

        return format is null
            ? OptionText.ToImageName(text)
            : throw new UsageException("--image-opts and --format are mutually exclusive");
    }

    /// <summary>Prints what <c>-o help</c> asks for.</summary>
    /// <returns>Whether it was asked for.</returns>
    protected bool WriteOptionsHelp(string? format, string[]? options)
    {
        if (options is null || !CreateHelp.IsAsked(options))
        {
            return false;
        }

        foreach (var line in CreateHelp.Lines(format ?? ImageFormat.Raw))
        {
            Console.Output.WriteLine(line);
        }

        return true;
    }

    /// <summary>How images are opened by what the command line says.</summary>
    protected ImageOpenOptions OpenOptions(ParseResult parsed, string? format) => new()
    {
        Format = format,
        ForceShare = _shared is not null && parsed.GetValue(_shared),
        FollowNames = !parsed.GetValue(NoFollow),
    };

    /// <summary>What is told how far it is; null where nobody asked.</summary>
    protected Action<double>? Progress(ParseResult parsed) => _progress is not null && parsed.GetValue(_progress)
        && !parsed.GetValue(Quiet)
        ? share => Console.Output.Write(FormattableString.Invariant($"    ({share * 100:0.00}/100%)\r"))
        : null;

    /// <summary>Ends the line of <see cref="Progress"/>.</summary>
    protected void EndProgress(Action<double>? progress)
    {
        if (progress is not null)
        {
            progress(1);
            Console.Output.WriteLine();
        }
    }

    /// <summary>Prints a line, unless <c>-q</c>.</summary>
    protected void Say(ParseResult parsed, string text)
    {
        if (!parsed.GetValue(Quiet))
        {
            Console.Output.WriteLine(text);
        }
    }

    /// <summary>Prints a report as JSON.</summary>
    protected void WriteJson(object value) => Console.Output.WriteLine(JsonText.Format(value));

    /// <summary>Reads a size as qemu-img does.</summary>
    /// <exception cref="UsageException">It is none.</exception>
    protected static long ParseSize(string text, string what) => SizeText.TryParse(text, out var bytes)
        ? bytes
        : throw new UsageException(
            $"Invalid {what} specified: '{text}'; you may use k, M, G, T, P or E suffixes for kilobytes, megabytes, "
            + "gigabytes, terabytes, petabytes and exabytes");
}
