using Tidemark.Blocks.Files;
using Tidemark.Blocks.Graph;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;

namespace Tidemark.Nbd.Tests.Programs;

/// <summary>A program of the library's README, word for word between the two marks.</summary>
internal static class ServeFile
{
    internal static async Task RunAsync(string[] args)
    {
        // begin
        await using var graph = new BlockGraph();
        var file = RawFileNode.Open("disk", args[0], readOnly: false);
        graph.Add(file);

        await using var server = new NbdServer(new NbdServerOptions { StopAfterLastClient = true });
        server.AddExport(new NbdExport(
            "", graph.CreateBackend(file, "the export"), new NbdExportOptions { Writable = true }));
        await server.ListenAsync(NbdEndPoint.ForUnix(args[1]));
        await server.Stopped;
        // end
    }
}
