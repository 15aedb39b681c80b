using System.CommandLine;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Domains;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Running;
using Tidemark.Cli.Sources;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Domains;

/// <summary>What all verbs of a domain share: its options, and the way to its hypervisor.</summary>
internal sealed class DomainContext
{
    private readonly Option<string[]> _monitor = new("--monitor", "-m")
    {
        Description = "The hypervisor's monitor, qmp:PATH or qmp:HOST:PORT; or an image at rest, [NAME=]PATH, which "
            + "may be repeated.",
        HelpName = "SOURCE",
        Recursive = true,
    };

    private readonly Option<string?> _domain = new("--domain")
    {
        Description = "The name under which the state is kept. Default: the source itself.",
        HelpName = "NAME",
        Recursive = true,
    };

    private readonly Option<string?> _stateDirectory = new("--state-dir")
    {
        Description = "Where checkpoints and journals are kept. Default: the XDG state directory.",
        HelpName = "DIR",
        Recursive = true,
    };

    /// <summary>Adds the options to the command over all verbs.</summary>
    public DomainContext(CommandConsole console, Command command)
    {
        Console = console;
        command.Add(_monitor);
        command.Add(_domain);
        command.Add(_stateDirectory);
    }

    /// <summary>Where results go.</summary>
    public CommandConsole Console { get; }

    /// <summary>Does a verb's work, and closes images at rest afterwards, which stores their bitmaps.</summary>
    public async Task<int> RunAsync(
        ParseResult parsed,
        Func<DomainServiceOptions, HypervisorSource, Task<int>> work,
        CancellationToken cancellationToken)
    {
        string[] sources = parsed.GetValue(_monitor) ?? [];
        if (sources.Length == 0)
        {
            throw new UsageException("--monitor SOURCE is needed: qmp:PATH, qmp:HOST:PORT or an image's path");
        }

        var options = new DomainServiceOptions
        {
            State = new StateDirectory(
                parsed.GetValue(_stateDirectory) is { Length: > 0 } path ? path : StateDirectory.DefaultPath),
            DomainName = parsed.GetValue(_domain),
            Time = Console.Time,
            Note = text => Console.WriteMessage($"tidemark: note: {text}"),
        };
        if (sources is [var only] && BackupSource.Parse(only) is var source and not ImageSource)
        {
            return await work(options, MonitorConnector.Of(source));
        }

        return await RunAtRestAsync(options, [.. sources.Select(Image)], work, cancellationToken);
    }

    /// <summary>Whether the source is an image at rest: its hypervisor is this process.</summary>
    public bool IsAtRest(ParseResult parsed) =>
        (parsed.GetValue(_monitor) ?? []).Any(source => BackupSource.Parse(source) is ImageSource);

    /// <summary>Reads a file of XML; <c>-</c> is standard input.</summary>
    /// <exception cref="CliException">It cannot be read.</exception>
    public static T ReadXml<T>(string path, Func<Stream, T> parse)
    {
        if (path.Length == 0)
        {
            throw new UsageException("the name of the XML's file is empty");
        }

        try
        {
            using var stream = path == "-" ? System.Console.OpenStandardInput() : File.OpenRead(path);
            return parse(stream);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new CliException($"could not read '{path}': {exception.Message}", exception);
        }
    }

    private async Task<int> RunAtRestAsync(
        DomainServiceOptions options,
        List<(string Name, string Path)> images,
        Func<DomainServiceOptions, HypervisorSource, Task<int>> work,
        CancellationToken cancellationToken)
    {
        if (images.GroupBy(image => image.Name).FirstOrDefault(group => group.Count() > 1) is { } twice)
        {
            throw new UsageException($"two images are called '{twice.Key}': --monitor NAME=PATH for each");
        }

        if (images.Count > 1 && options.DomainName is null)
        {
            throw new UsageException("several images make no name for a domain: give one with --domain NAME");
        }

        var session = await ImageSession.OpenAsync(images, null, Console.Time, cancellationToken);
        int code;
        try
        {
            code = await work(options, session.Source);
        }
        catch
        {
            await session.CloseAfterFailureAsync(Console);
            throw;
        }

        await session.DisposeAsync();
        return code;
    }

    private static (string Name, string Path) Image(string text)
    {
        if (BackupSource.Parse(text) is not ImageSource)
        {
            throw new UsageException("--monitor is given once for a monitor; only images may be several");
        }

        var equals = text.IndexOf('=');
        if (equals <= 0 || text.AsSpan(0, equals).Contains('/'))
        {
            return (ImageSource.DiskName, text);
        }

        var name = text[..equals];
        return DiskName.Refuse(name) is { } why
            ? throw new UsageException($"--monitor '{text}': {why}")
            : (name, text[(equals + 1)..]);
    }
}
