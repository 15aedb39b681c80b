using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Blocks.Extents;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Qmp;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Engine.Tests.Harness;

/// <summary>An engine in this process with a monitor and a directory of its own, driven by QMP as anybody
/// would.</summary>
internal sealed class EngineScene : IAsyncDisposable
{
    internal const int DiskLength = 8 << 20;

    private readonly TemporaryDirectory _folder = new();
    private StorageEngine _engine = new();

    private EngineScene()
    {
    }

    internal QmpConnection Monitor { get; private set; } = null!;

    internal QmpEventSubscription Events { get; private set; } = null!;

    internal string Socket => _folder.File("nbd");

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    internal static async Task<EngineScene> StartAsync()
    {
        var scene = new EngineScene();
        await scene.ConnectAsync();
        return scene;
    }

    internal string File(string name) => _folder.File(name);

    /// <summary>Ends the engine as quit does, and begins a new one.</summary>
    internal async Task RestartAsync()
    {
        await Monitor.DisposeAsync();
        await _engine.DisposeAsync();
        _engine = new StorageEngine();
        await ConnectAsync();
    }

    internal Task<JsonElement> DoAsync(string command, string arguments = "{}") => Monitor.ExecuteAsync(
        new QmpCommand(command, JsonNode.Parse(arguments.Replace('\'', '"').Replace("DIR", _folder.Path))!.AsObject()),
        Cancellation);

    /// <summary>The description with which a command is refused.</summary>
    internal async Task<string> RefusedAsync(string command, string arguments = "{}") =>
        (await Assert.ThrowsAsync<QmpException>(() => DoAsync(command, arguments))).Description;

    /// <summary>A qcow2 image as a node, made by the engine's own commands if there is none.</summary>
    /// <param name="name">Its name, and its file's.</param>
    /// <param name="backing">The node below it; null for none.</param>
    /// <param name="length">The disk's size.</param>
    /// <param name="backingFile">The file that its header names below it; null for none.</param>
    /// <param name="opensBacking">Whether what the header names is opened below it.</param>
    internal async Task AddImageAsync(
        string name,
        string? backing = null,
        long length = DiskLength,
        string? backingFile = null,
        bool opensBacking = false)
    {
        if (!System.IO.File.Exists(File(name)))
        {
            var header = backingFile is null ? "" : $",'backing-file':'DIR/{backingFile}','backing-fmt':'qcow2'";
            await CreateAsync($"{{'driver':'file','filename':'DIR/{name}','size':0}}");
            await DoAsync("blockdev-add", $"{{'driver':'file','node-name':'{name}-f','filename':'DIR/{name}'}}");
            await CreateAsync($"{{'driver':'qcow2','file':'{name}-f','size':{length}{header}}}");
        }
        else
        {
            await DoAsync("blockdev-add", $"{{'driver':'file','node-name':'{name}-f','filename':'DIR/{name}'}}");
        }

        var below = opensBacking ? "" : backing is null ? ",'backing':null" : $",'backing':'{backing}'";
        await DoAsync("blockdev-add", $"{{'driver':'qcow2','node-name':'{name}','file':'{name}-f'{below}}}");
    }

    /// <summary>An image in a part of a file that cannot grow: it is full after a few clusters.</summary>
    internal async Task AddTooSmallImageAsync(string name, string? backing = null)
    {
        const int Room = 1 << 19;
        await CreateAsync($"{{'driver':'file','filename':'DIR/{name}','size':{Room}}}");
        await DoAsync("blockdev-add", $"{{'driver':'file','node-name':'{name}-p','filename':'DIR/{name}'}}");
        await DoAsync(
            "blockdev-add", $"{{'driver':'raw','node-name':'{name}-f','file':'{name}-p','size':{Room}}}");
        await CreateAsync($"{{'driver':'qcow2','file':'{name}-f','size':{DiskLength}}}");
        var below = backing is null ? "null" : $"'{backing}'";
        await DoAsync(
            "blockdev-add", $"{{'driver':'qcow2','node-name':'{name}','file':'{name}-f','backing':{below}}}");
    }

    internal async Task RemoveImageAsync(string name)
    {
        await DoAsync("blockdev-del", $"{{'node-name':'{name}'}}");
        await DoAsync("blockdev-del", $"{{'node-name':'{name}-f'}}");
    }

    internal async Task CreateAsync(string options)
    {
        await DoAsync("blockdev-create", $"{{'job-id':'create','options':{options}}}");
        Assert.Null(await ConcludeAsync("create"));
    }

    internal Task StartServerAsync() => DoAsync(
        "nbd-server-start", $"{{'addr':{{'type':'unix','data':{{'path':'{Socket}'}}}}}}");

    internal Task ExportAsync(string node, string name, bool writable = false, string bitmaps = "[]") => DoAsync(
        "block-export-add",
        $"{{'type':'nbd','id':'{name}','node-name':'{node}','name':'{name}','writable':{(writable ? "true" : "false")},"
        + $"'bitmaps':{bitmaps}}}");

    internal async Task UnexportAsync(string name)
    {
        await DoAsync("block-export-del", $"{{'id':'{name}','mode':'hard'}}");
        await WaitForAsync("BLOCK_EXPORT_DELETED", data => data.GetProperty("id").GetString() == name);
    }

    internal Task<NbdNode> ClientAsync(string export, params string[] contexts) => NbdNode.ConnectAsync(
        $"client-{export}",
        NbdEndPoint.ForUnix(Socket),
        new NbdNodeOptions { ExportName = export, MetaContexts = contexts },
        Cancellation);

    /// <summary>Waits for a job's end and dismisses it; its error, or null.</summary>
    internal async Task<string?> ConcludeAsync(string job)
    {
        await WaitForAsync("JOB_STATUS_CHANGE", data =>
            data.GetProperty("id").GetString() == job && data.GetProperty("status").GetString() == "concluded");
        var info = (await DoAsync("query-jobs")).EnumerateArray().First(
            item => item.GetProperty("id").GetString() == job);
        await DoAsync("job-dismiss", $"{{'id':'{job}'}}");
        return info.TryGetProperty("error", out var error) ? error.GetString() : null;
    }

    internal async Task<QmpEvent> WaitForAsync(string name, Func<JsonElement, bool> wanted)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        limit.CancelAfter(TimeSpan.FromSeconds(60));
        while (true)
        {
            var next = await Events.Events.ReadAsync(limit.Token);
            if (next.Name == name && wanted(next.Data))
            {
                return next;
            }
        }
    }

    /// <summary>The node as the query shows it.</summary>
    internal async Task<JsonElement> NodeAsync(string name) =>
        (await DoAsync("query-named-block-nodes", "{'flat':true}")).EnumerateArray()
        .First(node => node.GetProperty("node-name").GetString() == name);

    internal async Task<string[]> NodeNamesAsync() =>
        [.. (await DoAsync("query-named-block-nodes", "{'flat':true}")).EnumerateArray()
            .Select(node => node.GetProperty("node-name").GetString()!).Order()];

    /// <summary>A bitmap as the query shows it, or undefined.</summary>
    internal async Task<JsonElement> BitmapAsync(string node, string bitmap) =>
        (await NodeAsync(node)).TryGetProperty("dirty-bitmaps", out var bitmaps)
            ? bitmaps.EnumerateArray().FirstOrDefault(
                item => item.TryGetProperty("name", out var name) && name.GetString() == bitmap)
            : default;

    internal async Task<long> CountAsync(string node, string bitmap) =>
        (await BitmapAsync(node, bitmap)).GetProperty("count").GetInt64();

    /// <summary>All bytes of an export.</summary>
    internal async Task<byte[]> ReadAsync(string export)
    {
        await using var client = await ClientAsync(export);
        var bytes = new byte[client.Length];
        for (var offset = 0; offset < bytes.Length; offset += 1 << 20)
        {
            await client.ReadAsync(
                offset, bytes.AsMemory(offset, Math.Min(1 << 20, bytes.Length - offset)), Cancellation);
        }

        return bytes;
    }

    /// <summary>All bytes of a node, through an export of the moment.</summary>
    internal async Task<byte[]> ReadNodeAsync(string node)
    {
        await ExportAsync(node, "look");
        try
        {
            return await ReadAsync("look");
        }
        finally
        {
            await UnexportAsync("look");
        }
    }

    /// <summary>The dirty ranges of an exported bitmap.</summary>
    internal async Task<List<(long Offset, long Length)>> DirtyAsync(string export, string bitmap)
    {
        var context = $"qemu:dirty-bitmap:{bitmap}";
        await using var client = await ClientAsync(export, context);
        var extents = new ExtentList();
        await client.GetMetaContextExtentsAsync(context, 0, client.Length, extents, Cancellation);
        List<(long, long)> dirty = [];
        foreach (var extent in extents)
        {
            if ((extent.Flags & ExtentFlags.Dirty) != 0)
            {
                dirty.Add((extent.Offset, extent.Length));
            }
        }

        return dirty;
    }

    public async ValueTask DisposeAsync()
    {
        await Monitor.DisposeAsync();
        await _engine.DisposeAsync();
        _folder.Dispose();
    }

    private async Task ConnectAsync()
    {
        Monitor = await _engine.ConnectInProcessAsync(Cancellation);
        Events = Monitor.Subscribe();
    }
}
