using System.CommandLine;
using Tidemark.Cli.Terminal;
using Tidemark.Images.Converting;
using Tidemark.Images.Creating;
using Tidemark.Images.Formats;
using Tidemark.Images.Opening;

namespace Tidemark.Cli.Images;

/// <summary><c>image convert</c>.</summary>
internal sealed class ConvertVerb : ImageVerb
{
    private readonly Argument<string[]> _files;
    private readonly Option<string?> _format;
    private readonly Option<string?> _targetFormat;
    private readonly Option<string[]> _options;
    private readonly Option<string?> _backing;
    private readonly Option<string?> _backingFormat;
    private readonly Option<bool> _compress;
    private readonly Option<int> _workers;
    private readonly Option<bool> _noCreate;
    private readonly Option<bool> _isZero;
    private readonly Option<string?> _sparse;
    private readonly Option<string?> _snapshot;
    private readonly Option<string?> _cache;
    private readonly Option<bool> _bitmaps;
    private readonly Option<bool> _skipBroken;

    /// <summary>Creates the verb.</summary>
    public ConvertVerb(CommandConsole console)
        : base(console, "convert", "Make an image with the content of one or more others.")
    {
        _files = Add(new Argument<string[]>("SOURCE… TARGET")
        {
            Description = "Paths, NBD URIs or json: names; several sources are put one behind the other.",
            Arity = new ArgumentArity(2, 1024),
        });
        _format = AddText(
            "--source-format", "-f", "FORMAT", "The sources' format; found by their first bytes without.");
        _targetFormat = AddText("--target-format", "-O", "raw|qcow2", "The target's format; raw without.");
        _options = CreateOptionsOption.AddTo(Command);
        _options.Aliases.Add("--target-format-options");
        _backing = AddText("--backing", "-B", "FILE", "The target's backing file: only what differs from it is copied, "
            + "which is what the source's top image holds.");
        _backing.Aliases.Add("-b");
        _backingFormat = AddText("--backing-format", "-F", "raw|qcow2", "The backing file's format.");
        _compress = Add(new Option<bool>("--compress", "-c") { Description = "Compress the target's clusters." });
        _workers = Add(new Option<int>("--parallel", "-m") { HelpName = "N", Description = "Copy N parts at once." });
        Add(new Option<bool>("--oob", "-W", "--oob-writes")
        {
            Description = "Let parts be written out of order, which they always are.",
        });
        _noCreate = Add(new Option<bool>("--no-create", "-n") { Description = "Write into a target that exists." });
        _isZero = Add(new Option<bool>("--target-is-zero") { Description = "With -n: the target reads as zeroes." });
        _sparse = AddText("--sparse-size", "-S", "SIZE", "Zeroes of this length are left out; 0 writes everything.");
        _snapshot = AddText("--snapshot", "-l", "NAME", "An internal snapshot as the source: its id or name, or "
            + "snapshot.id=ID,snapshot.name=NAME.");
        _cache = AddText("--cache", "-t", "MODE", "writeback, the default here, or unsafe: do not wait for the disk.");
        _cache.Aliases.Add("--target-cache");
        _bitmaps = Add(new Option<bool>("--bitmaps") { Description = "Copy the source's persistent bitmaps." });
        _skipBroken = Add(new Option<bool>("--skip-broken-bitmaps")
        {
            Description = "With --bitmaps: leave out those that cannot be copied.",
        });
        AddImageOptions();
        AddProgress();
        AddShared();
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var files = parsed.GetRequiredValue(_files);
        if (WriteOptionsHelp(parsed.GetValue(_targetFormat), parsed.GetValue(_options)))
        {
            return ExitCode.Success;
        }

        var options = ReadOptions(parsed, files[^1]);
        var snapshot = ReadSnapshot(parsed, files.Length - 1);
        List<OpenImage> sources = [];
        try
        {
            foreach (var source in files[..^1])
            {
                sources.Add(await ImageOpener.OpenAsync(
                    NameOf(parsed, source, parsed.GetValue(_format)),
                    OpenOptions(parsed, parsed.GetValue(_format)) with
                    {
                        Snapshot = snapshot,
                        // A server has so many places: one source may not take those that the next one needs.
                        NbdConnections = files.Length > 2 ? 1 : ConvertOptions.MaximumConnections,
                        NodeName = $"source{sources.Count}",
                    },
                    cancellationToken));
            }

            await ImageConvert.RunAsync(sources, options, cancellationToken);
        }
        finally
        {
            foreach (var source in sources)
            {
                await source.DisposeAsync();
            }
        }

        EndProgress(options.Report);
        return ExitCode.Success;
    }

    private ConvertOptions ReadOptions(ParseResult parsed, string target)
    {
        var create = CreateOptions.Parse(
            parsed.GetValue(_targetFormat) ?? ImageFormat.Raw, parsed.GetValue(_options) ?? [], target);
        create = create with
        {
            BackingFile = parsed.GetValue(_backing) ?? create.BackingFile,
            BackingFormat = parsed.GetValue(_backingFormat) ?? create.BackingFormat,
        };
        if (parsed.GetValue(_skipBroken) && !parsed.GetValue(_bitmaps))
        {
            throw new UsageException("Use of --skip-broken-bitmaps requires --bitmaps");
        }

        return new ConvertOptions
        {
            Target = target,
            Create = create,
            Compress = parsed.GetValue(_compress),
            NoCreate = parsed.GetValue(_noCreate),
            TargetIsZero = parsed.GetValue(_isZero),
            SparseLength = ReadSparse(parsed.GetValue(_sparse)),
            Workers = ReadWorkers(parsed),
            Bitmaps = parsed.GetValue(_bitmaps),
            SkipBrokenBitmaps = parsed.GetValue(_skipBroken),
            WithoutFlush = parsed.GetValue(_cache) switch
            {
                null or "writeback" => false,
                "unsafe" => true,
                var mode => throw new UsageException(
                    $"{_cache.Name} {mode} is not supported: it can be writeback or unsafe"),
            },
            FollowNames = OpenOptions(parsed, null).FollowNames,
            Report = Progress(parsed),
            Warn = Console.WriteWarning,
        };
    }

    private SnapshotSelector? ReadSnapshot(ParseResult parsed, int sources) => parsed.GetValue(_snapshot) switch
    {
        null => null,
        _ when sources > 1 => throw new UsageException("No support for concatenating multiple snapshot"),
        _ when parsed.GetValue(_bitmaps) => throw new UsageException(
            "--bitmaps with -l: the bitmaps of an image are not its snapshot's"),
        var text => SnapshotSelector.Parse(text),
    };

    private int ReadWorkers(ParseResult parsed)
    {
        if (parsed.GetResult(_workers) is null)
        {
            return 0;
        }

        var workers = parsed.GetValue(_workers);
        return workers is >= 1 and <= ConvertOptions.MaximumWorkers
            ? workers
            : throw new UsageException(
                $"Invalid number of coroutines: -m takes 1 to {ConvertOptions.MaximumWorkers}");
    }

    private static int ReadSparse(string? text)
    {
        const int SectorSize = 512, Largest = 16 << 20;
        if (text is null)
        {
            return ConvertOptions.DefaultSparseLength;
        }

        var bytes = ParseSize(text, "sparse size");
        return bytes % SectorSize == 0 && bytes <= Largest
            ? (int)bytes
            : throw new UsageException(
                $"Invalid buffer size for sparse output specified: a multiple of {SectorSize} up to {Largest} is "
                + "possible, 0 writes everything");
    }
}
