using System.Text.Json.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Qmp;
using Xunit;

namespace Tidemark.Engine.Tests.Interop;

/// <summary>A storage daemon, QEMU's or ours, over a folder with the images <c>base</c>, <c>mid</c> and <c>top</c>,
/// each of which is a node of its name; those below the top are opened read-only if that is asked for.</summary>
internal sealed class ChainContestant(IMonitor monitor, string folder, bool readOnlyLayers)
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string Socket => Path.Combine(folder, "nbd");

    /// <summary>Opens the chain, lowest first; the guest's export shows its top.</summary>
    internal async Task OpenAsync(params string[] layers)
    {
        string? below = null;
        foreach (var layer in layers)
        {
            await AddImageAsync(layer, below, readOnlyLayers && layer != layers[^1]);
            below = layer;
        }

        await DoAsync("nbd-server-start", $"{{'addr':{{'type':'unix','data':{{'path':'{Socket}'}}}}}}");
        await DoAsync(
            "block-export-add",
            $"{{'type':'nbd','id':'guest','node-name':'{below}','name':'guest','writable':true}}");
    }

    internal Task AddImageAsync(string name, string? below, bool readOnly = false) => DoAsync(
        "blockdev-add",
        $"{{'driver':'qcow2','node-name':'{name}','read-only':{(readOnly ? "true" : "false")},"
        + $"'file':{{'driver':'file','node-name':'{name}-f','filename':'{folder}/{name}'}},"
        + $"'backing':{(below is null ? "null" : $"'{below}'")}}}");

    internal Task DoAsync(string command, string arguments) => monitor.ExecuteAsync(
        new QmpCommand(command, JsonNode.Parse(arguments.Replace('\'', '"'))!.AsObject()), Token)
        .WaitAsync(s_patience, Token);

    /// <summary>Starts the job <c>j</c> and waits until it stands there.</summary>
    internal async Task StartAsync(string command, string arguments, string status)
    {
        await DoAsync(command, $"{{'job-id':'j','auto-dismiss':false,{arguments}}}");
        await StandsAsync(status);
    }

    /// <summary>Completes the job <c>j</c> and dismisses it.</summary>
    internal async Task CompleteAsync()
    {
        await DoAsync("job-complete", "{'id':'j'}");
        await StandsAsync("concluded");
        await DismissAsync();
    }

    internal Task DismissAsync() => DoAsync("job-dismiss", "{'id':'j'}");

    /// <summary>The guest's writes, one after the other; each is in the image when this returns.</summary>
    internal async Task WriteAsync(IEnumerable<(long Offset, byte[] Bytes)> writes)
    {
        await using var disk = await NbdNode.ConnectAsync(
            "guest", NbdEndPoint.ForUnix(Socket), new NbdNodeOptions { ExportName = "guest" }, Token);
        foreach (var (offset, bytes) in writes)
        {
            await disk.WriteAsync(offset, bytes, cancellationToken: Token);
        }

        await disk.FlushAsync(Token);
    }

    /// <summary>As libvirt after a commit or copy: each bitmap of the upper layers goes on in the target, with what
    /// was written there.</summary>
    internal Task MergeAsync(string target, (string Name, string[] Layers)[] bitmaps)
    {
        List<string> actions = [];
        foreach (var (name, layers) in bitmaps)
        {
            if (!layers.Contains(target))
            {
                actions.Add(
                    $"{{'type':'block-dirty-bitmap-add','data':{{'node':'{target}','name':'{name}','persistent':true,"
                    + "'granularity':65536}}");
            }

            var sources = layers.TakeWhile(layer => layer != target).Select(layer => (layer, name))
                .Append((target, "active")).Select(one => $"{{'node':'{one.Item1}','name':'{one.Item2}'}}");
            actions.Add(
                $"{{'type':'block-dirty-bitmap-merge','data':{{'node':'{target}','target':'{name}',"
                + $"'bitmaps':[{string.Join(',', sources)}]}}}}");
        }

        actions.Add($"{{'type':'block-dirty-bitmap-remove','data':{{'node':'{target}','name':'active'}}}}");
        return DoAsync("transaction", $"{{'actions':[{string.Join(',', actions)}]}}");
    }

    private async Task StandsAsync(string status)
    {
        var start = TimeProvider.System.GetTimestamp();
        while (true)
        {
            var jobs = await monitor.ExecuteAsync(new QmpCommand("query-jobs"), Token);
            var job = Assert.Single(jobs.EnumerateArray());
            Assert.False(job.TryGetProperty("error", out var error), $"the job failed: {error}");
            if (job.GetProperty("status").GetString() == status)
            {
                return;
            }

            Assert.True(TimeProvider.System.GetElapsedTime(start) < s_patience, $"the job is not {status}: {job}");
            await Task.Delay(TimeSpan.FromMilliseconds(5), Token);
        }
    }
}
