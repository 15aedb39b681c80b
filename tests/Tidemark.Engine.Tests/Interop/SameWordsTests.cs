using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Qmp;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Engine.Tests.Interop;

/// <summary>The same commands to QEMU's storage daemon and to the engine: the same replies, word for word, and
/// events.</summary>
[Trait("Category", "Interop")]
public sealed class SameWordsTests
{
    // One command a line: its name, a space, its arguments. DIR is the daemon's directory. A line with
    // `=> JOB` behind it waits for the job's end before the next one, `=> JOB STATUS` until it stands there.
    private const string SetUp = """
        blockdev-create {"job-id":"c1","options":{"driver":"file","filename":"DIR/disk","size":0}} => c1
        blockdev-add {"driver":"file","node-name":"disk-f","filename":"DIR/disk"}
        blockdev-create {"job-id":"c2","options":{"driver":"qcow2","file":"disk-f","size":1048576}} => c2
        blockdev-add {"driver":"qcow2","node-name":"disk","file":"disk-f","backing":null}
        blockdev-create {"job-id":"c3","options":{"driver":"file","filename":"DIR/target","size":0}} => c3
        blockdev-add {"driver":"file","node-name":"target-f","filename":"DIR/target"}
        blockdev-create {"job-id":"c4","options":{"driver":"qcow2","file":"target-f","size":1048576}} => c4
        blockdev-add {"driver":"qcow2","node-name":"target","file":"target-f","backing":null}
        block-dirty-bitmap-add {"node":"disk","name":"b","persistent":true}
        """;

    private const string Nodes = """
        blockdev-add {}
        blockdev-add {"driver":5}
        blockdev-add {"driver":"nosuch","node-name":"n"}
        blockdev-add {"driver":"file","node-name":"n"}
        blockdev-add {"driver":"file","filename":"DIR/target"}
        blockdev-add {"driver":"file","node-name":"n","filename":"DIR/nowhere"}
        blockdev-add {"driver":"file","node-name":"n","filename":"DIR"}
        blockdev-add {"driver":"file","node-name":"n","filename":"DIR/target","foo":1}
        blockdev-add {"driver":"null-co","node-name":"disk"}
        blockdev-add {"driver":"null-co","node-name":"1bad"}
        blockdev-add {"driver":"null-co","node-name":"n","read-only":1}
        blockdev-add {"driver":"qcow2","node-name":"n","file":"nowhere"}
        blockdev-add {"driver":"qcow2","node-name":"n","file":"disk"}
        blockdev-add {"driver":"qcow2","node-name":"n"}
        blockdev-add {"driver":"nbd","node-name":"n","server":{"type":"unix"}}
        blockdev-add {"driver":"nbd","node-name":"n","server":{"type":"unix","path":"DIR/x","y":1}}
        blockdev-del {}
        blockdev-del {"node-name":5,"foo":1}
        blockdev-del {"node-name":"nowhere"}
        blockdev-del {"node-name":"disk-f"}
        blockdev-reopen {"options":[{"driver":"raw","node-name":"nowhere","file":"disk"}]}
        blockdev-reopen {"options":[{"driver":"raw","node-name":"disk","file":"target"}]}
        query-named-block-nodes {"flat":1}
        no-such-command
        """;

    private const string Bitmaps = """
        block-dirty-bitmap-add {"node":"nowhere","name":"n"}
        block-dirty-bitmap-add {"node":"disk"}
        block-dirty-bitmap-add {"node":"disk","name":5}
        block-dirty-bitmap-add {"node":"disk","name":""}
        block-dirty-bitmap-add {"node":"disk","name":"b"}
        block-dirty-bitmap-add {"node":"disk","name":"n","granularity":5}
        block-dirty-bitmap-add {"node":"disk","name":"n","granularity":"q"}
        block-dirty-bitmap-add {"node":"disk","name":"n","granularity":1099511627776}
        block-dirty-bitmap-add {"node":"disk","name":"n","persistent":1}
        block-dirty-bitmap-add {"node":"disk-f","name":"n","persistent":true}
        block-dirty-bitmap-remove {"node":"nowhere","name":"b"}
        block-dirty-bitmap-remove {"node":"disk","name":"n"}
        block-dirty-bitmap-clear {"node":"disk","name":"n"}
        block-dirty-bitmap-enable {"node":"nowhere","name":"n"}
        block-dirty-bitmap-disable {"node":"disk","name":"n"}
        block-dirty-bitmap-merge {"node":"disk","target":"n","bitmaps":["b"]}
        block-dirty-bitmap-merge {"node":"disk","target":"b","bitmaps":["n"]}
        block-dirty-bitmap-merge {"node":"disk","target":"b","bitmaps":[{"node":"nowhere","name":"n"}]}
        block-dirty-bitmap-merge {"node":"disk","target":"b"}
        block-dirty-bitmap-disable {"node":"disk","name":"b"}
        block-dirty-bitmap-enable {"node":"disk","name":"b"}
        block-dirty-bitmap-clear {"node":"disk","name":"b"}
        transaction {"actions":[]}
        transaction {"actions":[{"type":"x","data":{}}]}
        transaction {"actions":[{"type":"abort","data":{"q":1}}]}
        transaction {"actions":[{"type":"abort","data":{}}]}
        transaction {"actions":[{"type":"block-dirty-bitmap-add","data":{"node":"x","name":5}}]}
        transaction {"actions":[{"type":"block-dirty-bitmap-add","data":{"node":"disk","name":"b"}}]}
        transaction {"foo":1}
        """;

    private const string Jobs = """
        blockdev-backup {"job-id":"j","device":"disk","target":"target","sync":"q"}
        blockdev-backup {"job-id":"j","device":"disk","target":"target"}
        blockdev-backup {"job-id":"1j","device":"disk","target":"target","sync":"full"}
        blockdev-backup {"job-id":"j","device":"nowhere","target":"target","sync":"full"}
        blockdev-backup {"job-id":"j","device":"disk","target":"nowhere","sync":"full"}
        blockdev-backup {"job-id":"j","device":"disk","target":"disk","sync":"full"}
        blockdev-backup {"job-id":"j","device":"disk","target":"target","sync":"incremental"}
        blockdev-backup {"job-id":"j","device":"disk","target":"target","sync":"bitmap"}
        blockdev-backup {"job-id":"j","device":"disk","target":"target","sync":"bitmap","bitmap":"b"}
        blockdev-backup {"job-id":"j","device":"disk","target":"target","sync":"incremental","bitmap":"x"}
        blockdev-backup {"job-id":"j","device":"disk","target":"target","sync":"incremental","bitmap":"b","bitmap-mode":"never"}
        blockdev-backup {"job-id":"j","device":"disk","target":"target","sync":"full","bitmap":"b"}
        blockdev-backup {"job-id":"j","device":"disk","target":"target","sync":"full","bitmap":"b","bitmap-mode":"never"}
        blockdev-backup {"job-id":"j","device":"disk","target":"target","sync":"none","bitmap":"b","bitmap-mode":"on-success"}
        blockdev-backup {"job-id":"j","device":"disk","target":"target","sync":"full","bitmap-mode":"never"}
        blockdev-backup {"job-id":"j","device":"disk","target":"target","sync":"full","on-source-error":"x"}
        blockdev-backup {"job-id":"j","device":"disk","target":"target","sync":"full","auto-dismiss":false} => j
        query-jobs
        query-block-jobs
        job-dismiss {"id":"nowhere"}
        job-cancel {"id":"j"}
        job-dismiss {"id":"j"}
        blockdev-backup {"job-id":"k","device":"disk","target":"target","sync":"none","auto-dismiss":false}
        query-jobs
        blockdev-backup {"job-id":"l","device":"disk","target":"target","sync":"full"}
        blockdev-del {"node-name":"target"}
        job-dismiss {"id":"k"}
        job-finalize {"id":"k"}
        job-complete {"id":"k"}
        job-resume {"id":"k"}
        block-job-cancel {"device":"nowhere"}
        block-job-cancel {"device":"k"} => k
        query-jobs
        job-dismiss {"id":"k"}
        blockdev-create {"job-id":"c","options":{"driver":"qcow2","file":"nowhere","size":1048576}} => c
        query-jobs
        job-dismiss {"id":"c"}
        """;

    private const string Chains = """
        blockdev-create {"job-id":"c5","options":{"driver":"file","filename":"DIR/over","size":0}} => c5
        blockdev-add {"driver":"file","node-name":"over-f","filename":"DIR/over"}
        blockdev-create {"job-id":"c6","options":{"driver":"qcow2","file":"over-f","size":1048576,"backing-file":"DIR/disk","backing-fmt":"qcow2"}} => c6
        blockdev-add {"driver":"qcow2","node-name":"over","file":"over-f","backing":null}
        blockdev-snapshot {"node":"disk","overlay":"over"}
        block-commit {"job-id":"j"}
        block-commit {"job-id":"j","device":"nowhere"}
        block-commit {"job-id":"1j","device":"over"}
        block-commit {"job-id":"j","device":"over","base-node":"over"}
        block-commit {"job-id":"j","device":"over","base-node":"target"}
        block-commit {"job-id":"j","device":"over","top-node":"target"}
        block-commit {"job-id":"j","device":"over","backing-file":"x"}
        block-commit {"job-id":"j","device":"over","on-error":"x"}
        block-commit {"job-id":"j","device":"over","top-node":"nowhere"}
        block-stream {"job-id":"j","device":"nowhere"}
        block-stream {"job-id":"j","device":"over","base-node":"nowhere"}
        block-stream {"job-id":"j"}
        block-stream {"job-id":"j","device":"over","base-node":"target"}
        block-stream {"job-id":"j","device":"over","backing-file":"x"}
        blockdev-mirror {"job-id":"j","device":"over","target":"target"}
        blockdev-mirror {"job-id":"j","device":"over","target":"target","sync":"x"}
        blockdev-mirror {"job-id":"j","device":"nowhere","target":"target","sync":"full"}
        blockdev-mirror {"job-id":"j","device":"over","target":"nowhere","sync":"full"}
        blockdev-mirror {"job-id":"j","device":"over","target":"over","sync":"full"}
        block-commit {"job-id":"j","device":"over","base-node":"disk","auto-dismiss":false} => j ready
        query-jobs
        query-block-jobs
        job-finalize {"id":"j"}
        job-dismiss {"id":"j"}
        job-complete {"id":"j"} => j
        query-jobs
        job-dismiss {"id":"j"}
        blockdev-del {"node-name":"over"}
        blockdev-mirror {"job-id":"m","device":"disk","target":"target","sync":"full","auto-dismiss":false} => m ready
        block-job-cancel {"device":"m"} => m
        query-jobs
        job-dismiss {"id":"m"}
        blockdev-add {"driver":"qcow2","node-name":"over","file":"over-f","backing":"disk"}
        block-stream {"job-id":"s","device":"over","auto-dismiss":false} => s
        job-dismiss {"id":"s"}
        blockdev-del {"node-name":"disk"}
        """;

    private const string Exports = """
        block-export-add {"type":"nbd","id":"e","node-name":"disk"}
        nbd-server-stop
        nbd-server-start {"addr":{"type":"q","data":{}}}
        nbd-server-start {"addr":{"type":"unix","data":{"path":"DIR/nbd"}}}
        nbd-server-start {"addr":{"type":"unix","data":{"path":"DIR/nbd2"}}}
        block-export-add {"type":"nbd","id":"1e","node-name":"disk"}
        block-export-add {"type":"nbd","id":"e","node-name":"nowhere"}
        block-export-add {"type":"x","id":"e","node-name":"disk"}
        block-export-add {"type":"nbd","id":"e","node-name":"disk","bitmaps":["x"]}
        block-export-add {"type":"nbd","id":"e","node-name":"disk","bitmaps":[{"node":"nowhere","name":"b"}]}
        block-export-add {"type":"nbd","id":"e","node-name":"disk","bitmaps":[{"node":"disk","name":"x"}]}
        block-export-add {"type":"nbd","id":"e","node-name":"disk","bitmaps":["b"]}
        block-export-add {"type":"nbd","id":"e","node-name":"disk","bitmaps":["b"],"writable":true,"description":"d"}
        block-export-add {"type":"nbd","id":"e","node-name":"disk"}
        block-export-add {"type":"nbd","id":"f","node-name":"disk","name":"disk"}
        block-dirty-bitmap-remove {"node":"disk","name":"b"}
        blockdev-del {"node-name":"disk"}
        query-block-exports
        block-export-del {"id":"nowhere"}
        block-export-del {"id":"e","mode":"x"}
        nbd-server-stop
        query-block-exports
        query-block
        """;

    [Theory]
    [InlineData(Nodes)]
    [InlineData(Bitmaps)]
    [InlineData(Jobs)]
    [InlineData(Exports)]
    [InlineData(Chains)]
    public async Task Replies_and_events_are_QEMUs(string commands)
    {
        Assert.SkipWhen(Tool.Missing("qemu-storage-daemon") is not null, "qemu-storage-daemon is not installed");
        await using var real = await RealDaemon.StartAsync();
        using var folder = new TemporaryDirectory();
        await using var engine = new StorageEngine();
        await using var ours = await engine.ConnectInProcessAsync(TestContext.Current.CancellationToken);
        Assert.SkipWhen(real.Monitor.Version is not { Major: 7, Minor: 2 },
            $"the words are those of QEMU 7.2, not {real.Monitor.Version}");
        var expected = await PlayAsync(real.Monitor, real.Folder, commands);
        Assert.Equal(expected, await PlayAsync(ours, folder.Path, commands));
    }

    [Fact]
    public async Task The_nodes_are_described_as_QEMU_describes_them()
    {
        Assert.SkipWhen(Tool.Missing("qemu-storage-daemon") is not null, "qemu-storage-daemon is not installed");
        await using var real = await RealDaemon.StartAsync();
        using var folder = new TemporaryDirectory();
        await using var engine = new StorageEngine();
        await using var ours = await engine.ConnectInProcessAsync(TestContext.Current.CancellationToken);
        await PlayAsync(real.Monitor, real.Folder, "query-version");
        await PlayAsync(ours, folder.Path, "query-version");
        foreach (var flat in (bool[])[true, false])
        {
            Assert.Equal(
                await DescribeAsync(real.Monitor, real.Folder, flat), await DescribeAsync(ours, folder.Path, flat));
        }
    }

    private static async Task<List<string>> DescribeAsync(IMonitor monitor, string folder, bool flat)
    {
        var nodes = await monitor.ExecuteAsync(
            new QmpCommand("query-named-block-nodes", new JsonObject { ["flat"] = flat }),
            TestContext.Current.CancellationToken);
        return [.. nodes.EnumerateArray().Select(node => Normal(node, folder)).Order(StringComparer.Ordinal)];
    }

    private static async Task<List<string>> PlayAsync(IMonitor monitor, string folder, string commands)
    {
        using var events = monitor.Subscribe();
        List<string> story = [];
        foreach (var line in $"{SetUp}\n{commands}".Split('\n'))
        {
            var (command, job) = line.Split(" => ") is [var first, var second] ? (first, second.Trim()) : (line, null);
            var space = command.IndexOf(' ', StringComparison.Ordinal);
            var name = space < 0 ? command.Trim() : command[..space];
            var arguments = space < 0 ? null : JsonNode.Parse(command[space..].Replace("DIR", folder))!.AsObject();
            story.Add($"-> {command}");
            try
            {
                var reply =
                    await monitor.ExecuteAsync(new QmpCommand(name, arguments), TestContext.Current.CancellationToken);
                story.Add(name == "query-version" ? "<- a version" : $"<- {Normal(reply, folder)}");
            }
            catch (QmpException exception)
            {
                story.Add($"<- {exception.ErrorClass}: {exception.Description.Replace(folder, "DIR")}");
            }

            await CollectAsync(events, story, job?.Split(' ') ?? [], folder);
        }

        return story;
    }

    // The events up to a job's end, or to a status of it. QEMU's jobs are paused for a moment whenever the graph
    // changes, and its implicit nodes have other numbers: that is left out.
    private static async Task CollectAsync(
        QmpEventSubscription events, List<string> story, string[] until, string folder)
    {
        while (until is [var job, ..])
        {
            var next = await events.Events.ReadAsync(TestContext.Current.CancellationToken);
            if (!next.Data.GetRawText().Contains($"\"{job}\"", StringComparison.Ordinal)
                || next.Data.TryGetProperty("status", out var status) && status.GetString() is "paused" or "standby")
            {
                continue;
            }

            var text = $"   {next.Name} {Normal(next.Data, folder)}";
            if (story[^1] != text)
            {
                story.Add(text);
            }

            if (next.Data.TryGetProperty("status", out status)
                && status.GetString() == (until.Length > 1 ? until[1] : "concluded"))
            {
                return;
            }
        }
    }

    private static string Normal(JsonElement value, string folder)
    {
        var node = JsonNode.Parse(value.GetRawText());
        return Sorted(node)?.ToJsonString().Replace(folder, "DIR") ?? "null";
    }

    private static JsonNode? Sorted(JsonNode? node)
    {
        switch (node)
        {
            case JsonArray list:
                return new JsonArray([.. list.Select(Sorted)]);
            case JsonObject members:
                var sorted = new JsonObject();
                foreach (var (name, child) in members.OrderBy(member => member.Key, StringComparer.Ordinal))
                {
                    // How long a file is and how it is laid out is each one's own; `children` is from newer versions;
                    // what the qcow2 driver says of its bitmaps stands in dirty-bitmaps too.
                    if (name is "actual-size" or "children" or "busy" or "io-status" or "bitmaps"
                        || (name == "virtual-size" && members["format"]?.GetValue<string>() == "file"))
                    {
                        continue;
                    }

                    sorted[name] = Sorted(child);
                }

                return sorted;
            default:
                return node?.DeepClone();
        }
    }
}
