using System.Text.Json.Nodes;
using Tidemark.Engine.Exports;
using Tidemark.Engine.Nodes;
using Tidemark.Qmp;

namespace Tidemark.Engine.Commands;

/// <summary>The NBD server and its exports.</summary>
internal static class ExportCommands
{
    internal static void AddTo(CommandTable table, ExportSet exports)
    {
        table.Add("nbd-server-start", (arguments, token) => StartAsync(exports, arguments, token));
        table.Add("nbd-server-stop", async (arguments, _) =>
        {
            arguments.CheckNothingLeft();
            await exports.StopServerAsync().ConfigureAwait(false);
        });
        table.Add("block-export-add", arguments => exports.Add(ExportOptions.Read(arguments)));
        table.Add("block-export-del", arguments =>
        {
            var id = arguments.GetString("id");
            var mode = arguments.FindChoice("mode", "safe", "hard");
            arguments.CheckNothingLeft();
            exports.Remove(id, mode == "hard");
        });
        table.Add("query-block-exports", (arguments, _) =>
        {
            arguments.CheckNothingLeft();
            return ValueTask.FromResult<JsonNode>(exports.Query());
        });
    }

    /// <summary>Starts the server from the arguments of the command.</summary>
    private static async ValueTask StartAsync(
        ExportSet exports, QmpArguments arguments, CancellationToken cancellationToken)
    {
        // QMP wraps the address's members in `data`; the command line writes them flat.
        var address = arguments.GetObject("addr");
        var endPoint = NodeOptionsReader.ReadSocketAddress(address, wrapped: address.Has("data"));
        arguments.RefuseUnsupported("tls-creds", "tls-authz", "handshake-max-seconds");
        var limit = arguments.FindInteger("max-connections");
        if (limit is < 0 or > uint.MaxValue)
        {
            throw new QmpException(QmpException.GenericError, "Parameter 'max-connections' expects uint32");
        }

        arguments.CheckNothingLeft();
        await exports.StartServerAsync(
            endPoint, limit is null ? null : (int)Math.Min(limit.Value, int.MaxValue), cancellationToken)
            .ConfigureAwait(false);
    }
}
