using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Graph;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;

namespace Tidemark.Fuzz.Targets;

/// <summary>Conversations between the real client and the real server: what a search starts from.</summary>
internal static class NbdRecording
{
    internal const int DiskLength = 1 << 20;

    /// <summary>What the server says to a client, which runs in <paramref name="client"/>.</summary>
    internal static byte[] OfServer(Action<NbdTransport> client)
    {
        var server = CreateServer();
        var (ours, theirs) = SocketTransport.CreatePair();
        var connection = server.Serve(theirs);
        using var recorder = new RecordingTransport(ours);
        client(recorder);
        var said = recorder.Received;
        ours.Dispose();
        connection.Completed.GetAwaiter().GetResult();
        server.DisposeAsync().AsTask().GetAwaiter().GetResult();
        return said;
    }

    /// <summary>A server with one export "vda": a writable disk with holes and a bitmap.</summary>
    internal static NbdServer CreateServer()
    {
        var graph = new BlockGraph();
        var node = new MemoryNode("disk", new byte[DiskLength]);
        graph.Add(node);
        var bitmap = new DirtyBitmap("bits", DiskLength, 65536);
        var backend = graph.CreateBackend(node, "export");
        var server = new NbdServer(new NbdServerOptions { WorkersPerConnection = 1 });
        server.AddExport(new NbdExport(
            "vda", backend, new NbdExportOptions { Writable = true, Description = "a disk", Bitmaps = [bitmap] }));
        return server;
    }
}
