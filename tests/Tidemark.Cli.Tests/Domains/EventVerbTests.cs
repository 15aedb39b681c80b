using System.Net.Sockets;

namespace Tidemark.Cli.Tests.Domains;

/// <summary><c>domain event</c> beside a backup of the embedded engine.</summary>
public sealed class EventVerbTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_backup_that_ended_is_three_events_and_all_is_what_is_printed_anyway()
    {
        await using var scene = await EngineScene.StartAsync("vda");
        foreach (var option in new[] { "--timestamp", "--all" })
        {
            await BeginAsync(scene, $"<domainbackup><disks>{Image(scene, "target", option)}</disks></domainbackup>");
            var output = await scene.DoAsync("event", option, "--timeout", "60");
            Assert.Contains("event 'block-job-2' for domain 'vm': Backup for vda completed\n", output);
            Assert.Contains("event 'job-completed' for domain 'vm':\n\toperation: 9\n", output);
            Assert.Contains("\tsuccess: 1\n", output);
            Assert.EndsWith("events received: 3\n", output);
            Assert.Equal(option == "--timestamp", output.StartsWith("20", StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task Only_the_events_of_a_name_are_printed_and_none_is_no_success()
    {
        await using var scene = await EngineScene.StartAsync("vda");
        await BeginAsync(scene, $"<domainbackup><disks>{Image(scene, "target", "t")}</disks></domainbackup>");
        var output = await scene.DoAsync("event", "--event", "job-completed", "--timeout", "60");
        Assert.DoesNotContain("block-job", output, StringComparison.Ordinal);
        Assert.EndsWith("events received: 1\n", output);
        await scene.RefusedAsync(1, "event loop timed out", "event", "--timeout", "0.05");
        Assert.Equal("block-job\nblock-job-2\njob-completed\n", await scene.DoAsync("event", "--list"));
        await scene.RefusedAsync(2, "--all and --event are two choices", "event", "--all", "--event", "block-job");
        await scene.RefusedAsync(2, "is a number of seconds over zero", "event", "--client-timeout", "0");
        await scene.RefusedAsync(2, "is a number of seconds over zero", "event", "--timeout", "-1");
        await scene.RefusedAsync(2, "no-such-event", "event", "--event", "no-such-event");
    }

    /// <summary>A client that was there and is gone for the time that was said: the pull failed, and its checkpoint
    /// goes.</summary>
    [Fact]
    public async Task A_pull_whose_client_is_gone_is_given_up()
    {
        await using var scene = await EngineScene.StartAsync("vda");
        await BeginAsync(
            scene,
            $"<domainbackup mode='pull'><server transport='unix' socket='{scene.File("pull.sock")}'/><disks>"
                + $"{Image(scene, "scratch", "s")}</disks></domainbackup>",
            "<domaincheckpoint><name>c1</name></domaincheckpoint>");
        Assert.Equal("c1\n", await scene.DoAsync("checkpoint-list", "--name"));
        var events = scene.TryAsync("event", "--client-timeout", "0.2", "--timeout", "60");

        // A client that comes and goes: longer there than between two looks, longer gone than is allowed.
        while (!events.IsCompleted && Path.Exists(scene.File("pull.sock")))
        {
            using (var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
            {
                try
                {
                    await client.ConnectAsync(new UnixDomainSocketEndPoint(scene.File("pull.sock")), Token);
                }
                catch (SocketException)
                {
                    break;
                }

                await Task.WhenAny(events, Task.Delay(1000, Token));
            }

            await Task.WhenAny(events, Task.Delay(2000, Token));
        }

        var (code, output, error) = await events;
        Assert.True(code == 0, error);
        Assert.Contains("\tsuccess: 0\n\terrmsg: the NBD client is gone", output);
        Assert.Equal("", await scene.DoAsync("checkpoint-list", "--name"));
        Assert.Contains("Failed", await scene.DoAsync("domjobinfo", "--completed"));
    }

    private static string Image(EngineScene scene, string element, string name) =>
        $"<disk name='vda' type='file'><{element} file='{scene.File(name.TrimStart('-'))}'/></disk>";

    private static Task<string> BeginAsync(EngineScene scene, string backup, string? checkpoint = null) =>
        scene.DoAsync([
            "backup-begin", scene.Write("backup.xml", backup),
            .. checkpoint is null ? (string[])[] : [scene.Write("checkpoint.xml", checkpoint)],
        ]);
}
