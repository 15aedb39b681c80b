using System.CommandLine;
using Tidemark.Blocks.Graph;
using Tidemark.Cli.Terminal;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;

namespace Tidemark.Cli.Nbd;

/// <summary><c>tidemark nbd serve PATH</c>: an image as an NBD export, until a signal comes.</summary>
/// <remarks>
/// When clients can connect, the export's URI is printed as one line on standard output (not with sockets that the
/// parent handed over). A signal, or with
/// <c>--once</c> the departure of the last client, ends it: requests under way finish, their replies leave, the socket
/// is removed, the image is closed; only then does the program end, with 0 if all of that worked.
/// </remarks>
internal sealed class NbdServeCommand
{
    /// <summary>The verb.</summary>
    public const string Name = "serve";

    private const string DefaultAddress = "127.0.0.1";
    private const int DefaultConnections = 64;

    /// <summary>Enough for requests of 2 MiB on a handful of connections; the process stays small.</summary>
    private const long BytesInFlight = 8L << 20;

    private readonly CommandConsole _console;
    private readonly Command _command = new(Name, "Serve a disk image over NBD until a signal comes.");
    private readonly Argument<string> _path = new("PATH") { Description = "A raw or qcow2 image, or a block device." };
    private readonly Option<string?> _format = new("--format", "-f")
    {
        Description = "The image's format, when its first bytes are not to be believed.",
        HelpName = "raw|qcow2",
    };

    private readonly Option<string?> _socket = new("--socket", "-k")
    {
        Description = "Listen on a unix socket of this path.",
        HelpName = "PATH",
    };

    private readonly Option<string?> _address = new("--address", "-b")
    {
        Description = $"Listen on this address. Default: {DefaultAddress}, which only this machine reaches.",
        HelpName = "HOST",
    };

    private readonly Option<int?> _port = new("--port", "-p")
    {
        Description = "The TCP port; 0 lets the system choose. Default: 10809.",
        HelpName = "N",
    };

    private readonly Option<string> _export = new("--export", "-x")
    {
        Description = "The export's name. Default: the empty name, which clients get that ask for none.",
        HelpName = "NAME",
        DefaultValueFactory = _ => "",
    };

    private readonly Option<bool> _readOnly = new("--read-only", "-r") { Description = "Refuse writes." };
    private readonly Option<string[]> _bitmaps = new("--bitmap", "-B")
    {
        Description = "Offer a dirty bitmap as qemu:dirty-bitmap:NAME; may be repeated.",
        HelpName = "NAME",
    };

    private readonly Option<bool> _allocationDepth = new("--allocation-depth", "-A")
    {
        Description = "Offer qemu:allocation-depth: which image of the chain holds the bytes.",
    };

    private readonly Option<int> _connections = new("--connections", "-e")
    {
        Description = "How many clients are served at once; others wait.",
        HelpName = "N",
        DefaultValueFactory = _ => DefaultConnections,
    };

    private readonly Option<bool> _once =
        new("--once") { Description = "End when the last client has left, after the first one has come." };

    private readonly Option<bool> _persistent =
        new("--persistent", "-t") { Description = "Stay when the last client leaves. This is the default." };

    private readonly ServerTlsOptions _tls;

    private NbdServeCommand(CommandConsole console)
    {
        _console = console;
        _format.AcceptOnlyFromAmong("raw", "qcow2");
        _command.Add(_path);
        _command.Add(_format);
        _command.Add(_socket);
        _command.Add(_address);
        _command.Add(_port);
        _command.Add(_export);
        _command.Add(_readOnly);
        _command.Add(_bitmaps);
        _command.Add(_allocationDepth);
        _command.Add(_connections);
        _tls = new ServerTlsOptions(_command);
        _command.Add(_persistent);
        _command.Add(_once);
        _command.SetAction(RunAsync);
    }

    /// <summary>Builds the verb.</summary>
    public static Command Create(CommandConsole console) => new NbdServeCommand(console)._command;

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        // Sockets that were handed over come first: nothing else may have taken their descriptors.
        var endPoint = EndPoint(parsed, SocketActivation.Count > 0);
        if (parsed.GetValue(_once) && parsed.GetValue(_persistent))
        {
            throw new UsageException("--once and --persistent cannot be used together");
        }

        var connections = parsed.GetValue(_connections);
        if (connections < 1)
        {
            throw new UsageException("--connections must be at least 1");
        }

        var tls = _tls.Read(parsed);
        var disk = await ServedDisk.OpenAsync(
            parsed.GetRequiredValue(_path), parsed.GetValue(_format), parsed.GetValue(_readOnly), _console,
            cancellationToken);
        try
        {
            await ServeAsync(
                parsed,
                disk,
                endPoint,
                new NbdServerOptions
                {
                    MaximumConnections = connections,
                    BytesInFlight = BytesInFlight,
                    StopAfterLastClient = parsed.GetValue(_once),
                    Tls = tls,
                },
                cancellationToken);
        }
        catch
        {
            await CloseAfterFailureAsync(disk);
            throw;
        }

        await disk.DisposeAsync();
        return ExitCode.Success;
    }

    private async Task ServeAsync(
        ParseResult parsed, ServedDisk disk, NbdEndPoint? endPoint, NbdServerOptions options,
        CancellationToken cancellationToken)
    {
        await using var graph = new BlockGraph();
        await using var server = new NbdServer(options);
        var name = parsed.GetRequiredValue(_export);
        var bitmaps = parsed.GetValue(_bitmaps) ?? [];
        server.AddExport(new NbdExport(name, graph.CreateBackend(disk.Node, $"export '{name}'"), new NbdExportOptions
        {
            Writable = !parsed.GetValue(_readOnly),
            AllocationDepth = parsed.GetValue(_allocationDepth),
            Bitmaps = [.. bitmaps.Distinct(StringComparer.Ordinal).Select(disk.FindBitmap)],
        }));
        IReadOnlyList<NbdEndPoint> listening = endPoint is null
            ? server.ListenActivated()
            : [await server.ListenAsync(endPoint, cancellationToken)];
        var mode = options.Tls?.Mode ?? NbdTlsMode.Disable;
        // Whoever handed the sockets over knows them, and may use this standard output for words of its own.
        foreach (var uri in (endPoint is null ? [] : listening).Select(place => new NbdUri(place, name) { Tls = mode }))
        {
            await _console.Output.WriteLineAsync(uri.ToString().AsMemory(), cancellationToken);
        }

        try
        {
            await server.Stopped.WaitAsync(cancellationToken);
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // A signal: the ordinary end of a server.
            await server.StopAsync();
        }
    }

    // Null when the process was started with its sockets.
    private NbdEndPoint? EndPoint(ParseResult parsed, bool isActivated)
    {
        var (socket, address, port) =
            (parsed.GetValue(_socket), parsed.GetValue(_address), parsed.GetValue(_port));
        if (isActivated)
        {
            return socket is null && address is null && port is null
                ? null
                : throw new UsageException(
                    "this process was started with sockets to listen on (LISTEN_FDS): --socket, --address and --port "
                    + "cannot be used");
        }

        if (socket is not null)
        {
            return address is null && port is null
                ? NbdEndPoint.ForUnix(Path.GetFullPath(socket))
                : throw new UsageException("--socket cannot be used together with --address or --port");
        }

        return port is null or (>= 0 and <= ushort.MaxValue)
            ? NbdEndPoint.ForTcp(address ?? DefaultAddress, port ?? NbdEndPoint.ForTcp(DefaultAddress).Port)
            : throw new UsageException($"--port {port}: a port is between 0 and {ushort.MaxValue}");
    }

    // The first error is the one that counts; that the image was not closed well is told beside it.
    private async Task CloseAfterFailureAsync(ServedDisk disk)
    {
        try
        {
            await disk.DisposeAsync();
        }
        catch (Blocks.Nodes.BlockException exception)
        {
            _console.WriteWarning($"the image was not closed well: {exception.Message}");
        }
    }
}
