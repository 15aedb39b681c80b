using System.CommandLine;
using Tidemark.Blocks.Nodes;
using Tidemark.Cli.Commands;
using Tidemark.Cli.Terminal;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Copy;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Cli.Nbd;

/// <summary><c>tidemark nbd copy SRC DST</c>: copies a disk between exports and files; holes stay holes.</summary>
internal sealed class NbdCopyCommand
{
    /// <summary>The verb.</summary>
    public const string Name = "copy";

    private const int MaximumConnections = 64;
    private const int DefaultRequests = 64;
    private const int MaximumRequests = 1024;
    private const string DefaultRequestSize = "256K";
    private const int MaximumRequestSize = 32 << 20;

    /// <summary>A connection has a thread of its own: more of them than processors only take turns.</summary>
    private static int DefaultConnections => Math.Clamp(Environment.ProcessorCount, 1, 4);

    private readonly CommandConsole _console;
    private readonly Command _command = new(Name, "Copy a disk between NBD exports and files. Holes stay holes.");
    private readonly Argument<string> _source = new("SRC")
    {
        Description = "An NBD URI, or the path of a file or device, whose bytes are taken as they are.",
    };

    private readonly Argument<string> _target = new("DST")
    {
        Description = "An NBD URI; the path of a device, or of a file, which is made or replaced; or null: to read "
            + "only.",
    };

    private readonly Option<int> _connections = new("--connections", "-C")
    {
        Description = "The connections to each server that allows several. Default: one a processor, 4 at most.",
        HelpName = "N",
        DefaultValueFactory = _ => DefaultConnections,
    };

    private readonly Option<int> _requests = new("--requests", "-R")
    {
        Description = "How many requests of one connection are under way at once, at most.",
        HelpName = "N",
        DefaultValueFactory = _ => DefaultRequests,
    };

    private readonly Option<string> _requestSize = new("--request-size")
    {
        Description = "The longest read: a power of two from 4K to 32M.",
        HelpName = "S",
        DefaultValueFactory = _ => DefaultRequestSize,
    };

    private readonly Option<bool> _allocated = new("--allocated")
    {
        Description = "Write zeroes so that storage is allocated for them, rather than make holes.",
    };

    private readonly Option<bool> _flush = new("--flush") { Description = "Make the copy durable before the end." };
    private readonly Option<bool> _progress = new("--progress", "-p") { Description = "Show how far the copy is." };
    private readonly Option<string?> _bitmap = new("--bitmap")
    {
        Description = "Copy only what this dirty bitmap of the source has as dirty, onto a target that stays as it is "
            + "elsewhere.",
        HelpName = "NAME",
    };

    private readonly Option<bool> _json;

    private NbdCopyCommand(CommandConsole console)
    {
        _console = console;
        _command.Add(_source);
        _command.Add(_target);
        _command.Add(_connections);
        _command.Add(_requests);
        _command.Add(_requestSize);
        _command.Add(_allocated);
        _command.Add(_flush);
        _command.Add(_bitmap);
        _command.Add(_progress);
        _json = JsonOption.AddTo(_command);
        _command.SetAction(RunAsync);
    }

    /// <summary>Builds the verb.</summary>
    public static Command Create(CommandConsole console) => new NbdCopyCommand(console)._command;

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var connections = InRange(parsed, _connections, MaximumConnections);
        var requests = InRange(parsed, _requests, MaximumRequests);
        var options = new DiskCopyOptions
        {
            RequestSize = RequestSize(parsed),
            Allocated = parsed.GetValue(_allocated),
            Flush = parsed.GetValue(_flush),
            BitmapContext =
                parsed.GetValue(_bitmap) is { } bitmap ? MetaContextNames.ForDirtyBitmap(bitmap) : null,
        };
        var node = new NbdNodeOptions
        {
            Connections = connections,
            MetaContexts = options.BitmapContext is { } context ? [context] : [],
            Client = new NbdClientOptions
            {
                MaximumRequests = requests,
                InlineCompletions = requests <= NbdClientOptions.MaximumInlineRequests,
            },
        };
        CopySide.CheckDifferent(parsed.GetRequiredValue(_source), parsed.GetRequiredValue(_target));
        var started = _console.Time.GetTimestamp();
        await using var source = await CopySide.OpenSourceAsync(
            parsed.GetRequiredValue(_source), node, cancellationToken);
        await using var target = await CopySide.OpenTargetAsync(
            parsed.GetRequiredValue(_target), node with { MetaContexts = [] }, source.Node!.Length,
            keeps: options.BitmapContext is not null, cancellationToken);
        options = options with
        {
            TargetIsZero = target.IsZero,
            Requests = requests * Math.Max(source.Connections, target.Connections),
        };
        DiskCopyReport report;
        try
        {
            report = await CopyAsync(source.Node, target.Node, options, parsed.GetValue(_progress), cancellationToken);
        }
        catch (Exception exception)
        {
            if (!target.TryRemoveWhatWasMade() && target.Node is not null
                && exception is OperationCanceledException or BlockException { Kind: BlockErrorKind.Io })
            {
                throw new CliException(
                    $"{(exception is BlockException ? exception.Message : "stopped")}; the copy is not complete: "
                    + $"'{parsed.GetRequiredValue(_target)}' is not to be used before it has been copied again",
                    exception);
            }

            throw;
        }

        Report(report, source, target, _console.Time.GetElapsedTime(started), parsed.GetValue(_json));
        return ExitCode.Success;
    }

    private async Task<DiskCopyReport> CopyAsync(
        BlockNode source, BlockNode? target, DiskCopyOptions options, bool showsProgress,
        CancellationToken cancellationToken)
    {
        if (!showsProgress)
        {
            return await DiskCopy.RunAsync(source, target, options, null, cancellationToken);
        }

        await using var meter = new ProgressMeter(_console, "copying", source.Length);
        long furthest = 0;
        return await DiskCopy.RunAsync(
            source,
            target,
            options,
            end =>
            {
                // Pieces end in any order; what is shown only grows.
                if (end > Volatile.Read(ref furthest))
                {
                    Volatile.Write(ref furthest, end);
                    meter.Report(end);
                }
            },
            cancellationToken);
    }

    private void Report(DiskCopyReport report, CopySide source, CopySide target, TimeSpan elapsed, bool json)
    {
        if (json)
        {
            JsonOutput.Write(_console, writer =>
            {
                writer.WriteStartObject();
                writer.WriteNumber("size", report.Length);
                writer.WriteNumber("selected", report.Selected);
                writer.WriteNumber("read", report.Read);
                writer.WriteNumber("written", report.Written);
                writer.WriteNumber("zero", report.Zeroed);
                writer.WriteNumber("source-connections", source.Connections);
                writer.WriteNumber("destination-connections", target.Connections);
                writer.WriteNumber("seconds", Math.Round(elapsed.TotalSeconds, 3));
                writer.WriteEndObject();
            });
            return;
        }

        var rate = report.Selected / Math.Max(elapsed.TotalSeconds, 1e-6);
        _console.Output.WriteLine(
            $"copied {ByteSize.Format(report.Selected)} of {ByteSize.Format(report.Length)}: "
            + $"{ByteSize.Format(report.Written)} of data, {ByteSize.Format(report.Zeroed)} of zeroes, in "
            + $"{elapsed.TotalSeconds:0.00} s ({ByteSize.Format((long)rate)}/s)");
    }

    private static int InRange(ParseResult parsed, Option<int> option, int maximum)
    {
        var value = parsed.GetValue(option);
        return value >= 1 && value <= maximum
            ? value
            : throw new UsageException($"{option.Name} {value}: it must be between 1 and {maximum}");
    }

    private int RequestSize(ParseResult parsed)
    {
        var text = parsed.GetRequiredValue(_requestSize);
        return ByteSize.TryParse(text, out var size) && long.IsPow2(size) && size is >= 4096 and <= MaximumRequestSize
            ? (int)size
            : throw new UsageException($"--request-size {text}: it must be a power of two from 4K to 32M");
    }
}
