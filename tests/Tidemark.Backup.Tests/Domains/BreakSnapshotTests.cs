using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Qmp;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Domains;

/// <summary>
/// Why QEMU is not asked for <c>on-cbw-error=break-snapshot</c> although its newest has the option: the guest's write
/// is saved, but nothing tells that the point in time is lost. docs/design/011 states what this shows; the day it
/// fails, the option can be used.
/// </summary>
[Trait("Category", "Interop")]
public sealed class BreakSnapshotTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>The filter of its own does better: with break-snapshot the guest's write succeeds and the view answers
    /// with an error. But no transaction takes it, so it cannot go in at the instant of the bitmaps and of all
    /// disks.</summary>
    [Theory]
    [InlineData("7.2", "break-guest-write")]
    [InlineData("7.2", "break-snapshot")]
    [InlineData("10.0", "break-snapshot")]
    [InlineData("11.1", "break-guest-write")]
    [InlineData("11.1", "break-snapshot")]
    public async Task A_filter_that_lost_its_point_in_time_says_so_but_is_no_action_of_a_transaction(
        string number, string policy)
    {
        var version = QemuVersions.Need(number);
        Assert.SkipWhen(Tool.Missing("qemu-io") is not null, "not installed: qemu-io");
        using var folder = new TemporaryDirectory();
        using var daemon = await StartAsync(folder, version, hasRawNode: true);
        try
        {
            await using var monitor = await ConnectAsync(folder.File("qmp"));
            await AddTargetAsync(monitor, "null");
            await monitor.ExecuteAsync(
                Parse("blockdev-add", $$"""
                    {"driver": "copy-before-write", "node-name": "filter", "file": "disk", "target": "target",
                     "on-cbw-error": "{{policy}}"}
                    """),
                Token);
            const string Reopen = """{"driver": "raw", "node-name": "top", "file": "filter"}""";
            var refused = await Assert.ThrowsAsync<QmpException>(() => monitor.ExecuteAsync(
                Parse("transaction", $$$"""
                    {"actions": [{"type": "blockdev-reopen", "data": {"options": [{{{Reopen}}}]}}]}
                    """),
                Token));
            Assert.Contains("does not accept value 'blockdev-reopen'", refused.Description, StringComparison.Ordinal);
            await monitor.ExecuteAsync(Parse("blockdev-reopen", $$"""{"options": [{{Reopen}}]}"""), Token);
            await monitor.ExecuteAsync(
                Parse("blockdev-add", """
                    {"driver": "snapshot-access", "node-name": "access", "file": "filter"}
                    """),
                Token);
            await monitor.ExecuteAsync(
                Parse("block-export-add", """
                    {"type": "nbd", "id": "view", "node-name": "access", "name": "view"}
                    """),
                Token);
            var guest = await TryAsync(folder, "disk", "write -P 2 4M 1M");
            var view = await TryAsync(folder, "view", "read -P 1 4M 1M");
            Assert.Equal((policy == "break-snapshot", policy == "break-guest-write"), (guest, view));
        }
        finally
        {
            daemon.Kill();
            await daemon.WaitForExitAsync(CancellationToken.None);
        }
    }

    [Theory]
    [InlineData("none")]
    public async Task A_job_that_lost_its_point_in_time_does_not_say_so(string sync)
    {
        var version = QemuVersions.Need("11.1");
        Assert.SkipWhen(Tool.Missing("qemu-io") is not null, "not installed: qemu-io");
        using var folder = new TemporaryDirectory();
        using var daemon = await StartAsync(folder, version, hasRawNode: false);
        try
        {
            await using var monitor = await ConnectAsync(folder.File("qmp"));
            await AddTargetAsync(monitor, sync == "none" ? "\"disk\"" : "null");
            await monitor.ExecuteAsync(
                Parse("blockdev-backup", $$"""
                    {"device": "disk", "target": "target", "sync": "{{sync}}", "job-id": "job", "speed": 1,
                     "on-cbw-error": "break-snapshot", "auto-dismiss": false}
                    """),
                Token);
            if (sync == "full")
            {
                await monitor.ExecuteAsync(Parse("block-job-pause", """{"device": "job"}"""), Token);
            }

            await ReadWriteAsync(folder, "disk", "write -P 2 4M 1M");
            if (sync == "full")
            {
                await monitor.ExecuteAsync(
                    Parse("block-job-set-speed", """{"device": "job", "speed": 0}"""), Token);
                await monitor.ExecuteAsync(Parse("block-job-resume", """{"device": "job"}"""), Token);
            }

            var job = await WaitAsync(monitor, sync == "full" ? "concluded" : "running");
            Assert.False(job.TryGetProperty("error", out _));
            await monitor.ExecuteAsync(
                Parse("block-export-add", """{"type": "nbd", "id": "view", "node-name": "target", "name": "view"}"""),
                Token);

            // Not what the disk was at the instant: the backup is wrong, and its job has no error.
            var wrong = await Assert.ThrowsAsync<InvalidOperationException>(() =>
                ReadWriteAsync(folder, "view", "read -P 1 4M 1M"));
            Assert.Contains("Pattern verification failed", wrong.Message, StringComparison.Ordinal);
        }
        finally
        {
            daemon.Kill();
            await daemon.WaitForExitAsync(CancellationToken.None);
        }
    }

    // A disk of ones whose guest writes to it, through a raw node over it or not, and the file of a target.
    private static async Task<Process> StartAsync(TemporaryDirectory folder, QemuVersion version, bool hasRawNode)
    {
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", folder.File("disk"), "8M");
        await Tool.RunOkAsync("qemu-io", "-c", "write -P 1 0 8M", folder.File("disk"));
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", folder.File("target"), "8M");
        string[] over = hasRawNode ? ["--blockdev", "driver=raw,file=disk,node-name=top"] : [];
        return Process.Start(
            version.Program("qemu-storage-daemon"),
            [
                "--chardev", $"socket,id=m,path={folder.File("qmp")},server=on,wait=off", "--monitor", "chardev=m",
                "--nbd-server", $"addr.type=unix,addr.path={folder.File("nbd")}",
                "--blockdev", $"driver=file,filename={folder.File("disk")},node-name=disk-file",
                "--blockdev", "driver=qcow2,file=disk-file,node-name=disk",
                .. over,
                "--export", $"type=nbd,id=disk,node-name={(hasRawNode ? "top" : "disk")},name=disk,writable=on",
                "--blockdev", $"driver=file,filename={folder.File("target")},node-name=target-file",
            ]);
    }

    // The target, whose file has no room for the first write.
    private static Task AddTargetAsync(QmpConnection monitor, string backing) => monitor.ExecuteAsync(
        Parse("blockdev-add", $$$"""
            {"driver": "qcow2", "node-name": "target", "backing": {{{backing}}},
             "file": {"driver": "blkdebug", "image": "target-file", "inject-error":
               [{"event": "write_aio", "errno": 28, "once": true}]}}
            """),
        Token);

    private static async Task<bool> TryAsync(TemporaryDirectory folder, string export, string command)
    {
        try
        {
            await ReadWriteAsync(folder, export, command);
            return true;
        }
        catch (InvalidOperationException)
        {
            return false;
        }
    }

    private static QmpCommand Parse(string name, string arguments) =>
        new(name, JsonNode.Parse(arguments)!.AsObject());

    private static Task ReadWriteAsync(TemporaryDirectory folder, string export, string command) => Tool.RunOkAsync(
        "qemu-io",
        [
            "-f", "raw", .. command.StartsWith("read", StringComparison.Ordinal) ? (string[])["-r"] : [],
            "-c", command, $"nbd+unix:///{export}?socket={folder.File("nbd")}",
        ]);

    private static async Task<JsonElement> WaitAsync(QmpConnection monitor, string status)
    {
        while (true)
        {
            var jobs = await monitor.ExecuteAsync(new QmpCommand("query-jobs"), Token);
            var job = Assert.Single(jobs.EnumerateArray());
            if (job.GetProperty("status").GetString() == status)
            {
                return job;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(20), Token);
        }
    }

    private static async Task<QmpConnection> ConnectAsync(string path)
    {
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                return await QmpConnection.ConnectAsync(QmpEndPoint.Unix(path), TimeSpan.FromSeconds(10));
            }
            catch (QmpException) when (attempt < 500)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(20), Token);
            }
        }
    }
}
