using System.CommandLine;
using Tidemark.Cli.Commands;
using Tidemark.Cli.Terminal;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Cli.Nbd;

/// <summary><c>tidemark nbd info URI</c>: what a server says of an export, or of all, or the map of an export's
/// extents, in nbdinfo's words.</summary>
internal sealed class NbdInfoCommand
{
    /// <summary>The verb.</summary>
    public const string Name = "info";

    /// <summary>What a bare <c>--map</c> means.</summary>
    public const string MapWithDefault = $"--map={MetaContextNames.BaseAllocation}";

    private readonly CommandConsole _console;
    private readonly Command _command = new(Name, "Describe an NBD export, list a server's exports, or map extents.");
    private readonly Argument<string> _uri = new("URI")
    {
        Description = "nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH; nbds… for TLS, with "
            + "tls-certificates=DIR.",
    };

    private readonly Option<bool> _list = new("--list", "-L") { Description = "Describe every export of the server." };
    private readonly Option<string?> _map = new("--map")
    {
        Description = "Show the extents of a metadata context: base:allocation unless another one is named "
            + "(qemu:dirty-bitmap:NAME, qemu:allocation-depth).",
        HelpName = "CONTEXT",
    };

    private readonly Option<bool> _totals = new("--totals") { Description = "With --map: only the sum of each kind." };
    private readonly Option<bool> _json;

    private NbdInfoCommand(CommandConsole console)
    {
        _console = console;
        _command.Add(_uri);
        _command.Add(_list);
        _command.Add(_map);
        _command.Add(_totals);
        _json = JsonOption.AddTo(_command);
        _command.SetAction(RunAsync);
    }

    /// <summary>Builds the verb.</summary>
    public static Command Create(CommandConsole console) => new NbdInfoCommand(console)._command;

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        var map = parsed.GetValue(_map);
        var isList = parsed.GetValue(_list);
        if (map is not null && isList)
        {
            throw new UsageException("--list and --map cannot be used together");
        }

        if (parsed.GetValue(_totals) && map is null)
        {
            throw new UsageException("--totals is for --map");
        }

        var uri = NbdUri.Parse(parsed.GetRequiredValue(_uri));
        return map is null
            ? await DescribeAsync(uri, isList, parsed.GetValue(_json), cancellationToken)
            : await MapAsync(uri, map, parsed.GetValue(_totals), parsed.GetValue(_json), cancellationToken);
    }

    private async Task<int> DescribeAsync(NbdUri uri, bool isList, bool json, CancellationToken cancellationToken)
    {
        var server = await NbdClient.DescribeAsync(
            uri.EndPoint, NbdClientOptions.ForUri(uri), isList, cancellationToken);
        if (json)
        {
            JsonOutput.Write(_console, writer => ServerReport.WriteJson(writer, server, uri));
        }
        else
        {
            ServerReport.WriteText(_console.Output, server, uri);
        }

        return ExitCode.Success;
    }

    private async Task<int> MapAsync(
        NbdUri uri, string context, bool totals, bool json, CancellationToken cancellationToken)
    {
        var map = await ExtentMap.ReadAsync(uri, context, cancellationToken);
        if (json)
        {
            JsonOutput.Write(_console, writer =>
            {
                if (totals)
                {
                    map.WriteTotalsJson(writer);
                }
                else
                {
                    map.WriteJson(writer);
                }
            });
        }
        else if (totals)
        {
            map.WriteTotalsText(_console.Output);
        }
        else
        {
            map.WriteText(_console.Output);
        }

        return ExitCode.Success;
    }
}
