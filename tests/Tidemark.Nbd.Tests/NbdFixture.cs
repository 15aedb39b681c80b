using Tidemark.Blocks.Graph;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Nbd.Server;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Nbd.Tests;

/// <summary>A server on a unix socket of the test's own, with its graph; everything is removed at disposal.</summary>
internal sealed class NbdFixture : IAsyncDisposable
{
    private readonly TemporaryDirectory _directory = new();
    private readonly List<IAsyncDisposable> _owned = [];
    private readonly List<IDisposable> _others = [];

    private NbdFixture(NbdServer server) => Server = server;

    internal static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    internal BlockGraph Graph { get; } = new();

    internal NbdServer Server { get; }

    internal string SocketPath => _directory.File("nbd.sock");

    internal TemporaryDirectory Directory => _directory;

    internal NbdEndPoint EndPoint => NbdEndPoint.ForUnix(SocketPath);

    internal static async Task<NbdFixture> StartAsync(NbdServerOptions? options = null)
    {
        var fixture = new NbdFixture(new NbdServer(options));
        await fixture.Server.ListenAsync(fixture.EndPoint, Cancellation);
        return fixture;
    }

    internal NbdExport Export(string name, BlockNode node, NbdExportOptions? options = null)
    {
        if (Graph.Find(node.Name) is null)
        {
            Graph.Add(node);
        }

        var backend = Graph.CreateBackend(node, $"export '{name}'");
        try
        {
            var export = new NbdExport(name, backend, options);
            Server.AddExport(export);
            return export;
        }
        catch
        {
            backend.Dispose();
            throw;
        }
    }

    internal string Uri(string export) => new NbdUri(EndPoint, export).ToString();

    internal async Task<NbdClient> ConnectAsync(string export, params string[] contexts)
    {
        var client = await NbdClient.ConnectAsync(
            EndPoint, new NbdClientOptions { ExportName = export, MetaContexts = contexts }, Cancellation);
        _owned.Add(client);
        return client;
    }

    internal async Task<NbdNode> ConnectNodeAsync(string export, NbdNodeOptions? options = null)
    {
        var node = await NbdNode.ConnectAsync(
            "remote", EndPoint, (options ?? new NbdNodeOptions()) with { ExportName = export }, Cancellation);
        _owned.Add(node);
        return node;
    }

    /// <summary>Something that ends with the fixture.</summary>
    internal void Own(IDisposable other) => _others.Add(other);

    public async ValueTask DisposeAsync()
    {
        foreach (var owned in Enumerable.Reverse(_owned))
        {
            await owned.DisposeAsync();
        }

        await Server.DisposeAsync();
        await Graph.DisposeAsync();
        _directory.Dispose();
        _others.ForEach(other => other.Dispose());
    }
}
