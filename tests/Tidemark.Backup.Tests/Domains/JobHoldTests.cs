using System.Text.Json.Nodes;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Domains;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Tests.Interop;
using Tidemark.Backup.Xml;
using Tidemark.Qmp;
using Tidemark.Testing;

namespace Tidemark.Backup.Tests.Domains;

/// <summary>
/// QEMU 5.2 dies when it is asked for its nodes while an ended backup job is listed. A verb that looks while a push
/// runs makes the push stand still for the question, so that it cannot end at the wrong moment.
/// </summary>
[Trait("Category", "Interop")]
public sealed class JobHoldTests
{
    private const string Question = "query-named-block-nodes";

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>The push is let go at the very moment between the question for jobs and the one for nodes.</summary>
    [Fact]
    public async Task A_push_that_would_end_between_two_questions_stands_still()
    {
        await using var scene = await BegunAsync();
        var statusAtQuestion = "";
        scene.Source = scene.Daemon.Source with
        {
            ConnectAsync = async token => new HookedMonitor(
                await scene.Daemon.Source.ConnectAsync(token), Question, async () =>
                {
                    await SetSpeedAsync(scene, 0);
                    for (var look = 0; look < 20 && await StatusAsync(scene) != "concluded"; look++)
                    {
                        await Task.Delay(TimeSpan.FromMilliseconds(50), Token);
                    }

                    statusAtQuestion = await StatusAsync(scene);
                }),
        };
        Assert.Single(await scene.Service.ListDisksAsync(Token));
        Assert.Equal("paused", statusAtQuestion);
        scene.Source = null;
        await EndsWellAsync(scene);
    }

    /// <summary>Killed between the pause and the resume: the next command of the domain resumes the push.</summary>
    [Fact]
    public async Task A_push_that_a_killed_command_paused_goes_on()
    {
        await using var scene = await BegunAsync();
        scene.Source = scene.Daemon.Source with
        {
            ConnectAsync = async token =>
            {
                var inner = await scene.Daemon.Source.ConnectAsync(token);
                return new HookedMonitor(inner, Question, async () => await inner.DisposeAsync());
            },
        };
        await Assert.ThrowsAnyAsync<Exception>(() => scene.Service.ListDisksAsync(Token));
        scene.Source = null;
        Assert.Equal("paused", await StatusAsync(scene));
        await SetSpeedAsync(scene, 0);
        Assert.NotNull(await scene.Service.ReadJobAsync(Token));
        await EndsWellAsync(scene);
    }

    /// <summary>One disk's job has ended, the other's runs: its result is still needed, so the question has to
    /// wait.</summary>
    [Fact]
    public async Task Over_a_push_that_has_ended_in_part_no_question_is_asked()
    {
        await using var scene = await StartAsync("vda", "vdb");
        await BeginAsync(scene, new BackupBegin
        {
            Backup = BackupXml.Parse($"""
                <domainbackup><disks><disk name='vda' type='file'><target file='{scene.File("a")}'/></disk>
                <disk name='vdb' type='file'><target file='{scene.File("b")}'/></disk></disks></domainbackup>
                """),
        });
        var start = TimeProvider.System.GetTimestamp();
        while ((await scene.Service.ReadJobAsync(Token))!.Disks[1].State != "completed")
        {
            Assert.True(TimeProvider.System.GetElapsedTime(start) < s_patience, "the empty disk's job does not end");
            await Task.Delay(TimeSpan.FromMilliseconds(20), Token);
        }

        var error = await Assert.ThrowsAsync<BackupException>(() => scene.Service.ListDisksAsync(Token));
        Assert.Contains("has ended while others run", error.Message, StringComparison.Ordinal);
        Assert.Equal(JobResult.Cancelled, (await scene.Service.AbortAsync(false, Token)).Result);
        Assert.False(scene.Daemon.HasDied);
        await scene.NothingIsLeftAsync();
    }

    /// <summary>A job of another's is not touched: the question is not asked.</summary>
    [Fact]
    public async Task Over_a_push_of_anothers_no_question_is_asked()
    {
        await using var scene = await StartAsync("vda");
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "raw", scene.File("target"), "256M");
        await scene.Daemon.ExecuteAsync("blockdev-add", new JsonObject
        {
            ["driver"] = "file",
            ["node-name"] = "target",
            ["filename"] = scene.File("target"),
        });
        await scene.Daemon.ExecuteAsync("blockdev-backup", new JsonObject
        {
            ["job-id"] = "theirs",
            ["device"] = "vda",
            ["target"] = "target",
            ["sync"] = "full",
            ["speed"] = 65536,
            ["auto-dismiss"] = false,
        });
        var error = await Assert.ThrowsAsync<BackupException>(() => scene.Service.ListDisksAsync(Token));
        Assert.Contains("'theirs' runs", error.Message, StringComparison.Ordinal);
        Assert.False(scene.Daemon.HasDied);
    }

    private static Task<DomainScene> StartAsync(params string[] disks)
    {
        RealDaemonTests.Skip();
        return DomainScene.StartAsync(QemuVersions.Need("5.2"), "256M", disks);
    }

    // A push that runs, slowly.
    private static async Task<DomainScene> BegunAsync()
    {
        var scene = await StartAsync("vda");
        try
        {
            await BeginAsync(scene, scene.Push("full", checkpoint: "c1"));
            Assert.Equal("running", await StatusAsync(scene));
            return scene;
        }
        catch
        {
            await scene.DisposeAsync();
            throw;
        }
    }

    // The disk vda has data, and its job is slow from its beginning.
    private static async Task BeginAsync(DomainScene scene, BackupBegin request)
    {
        await scene.Daemon.WriteAsync("vda", "write -q -P 1 0 256M");
        scene.Source = scene.Daemon.Source with
        {
            ConnectAsync = async token => new SlowJobMonitor(await scene.Daemon.Source.ConnectAsync(token), "vda"),
        };
        await scene.Service.BeginAsync(request, Token);
        scene.Source = null;
    }

    private static async Task EndsWellAsync(DomainScene scene)
    {
        var start = TimeProvider.System.GetTimestamp();
        while (await scene.Service.ReadJobAsync(Token) is not null)
        {
            Assert.True(TimeProvider.System.GetElapsedTime(start) < s_patience, "the push does not end");
            await Task.Delay(TimeSpan.FromMilliseconds(20), Token);
        }

        Assert.Equal(JobResult.Completed, (await scene.Service.ReadCompletedAsync(Token))!.Result);
        Assert.Equal("c1:Valid*", await scene.ListAsync());
        Assert.False(scene.Daemon.HasDied);
        await scene.NothingIsLeftAsync();
        await Tool.RunOkAsync("qemu-io", "-r", "-c", "read -q -P 1 0 256M", scene.File("full"));
    }

    private static async Task SetSpeedAsync(DomainScene scene, long speed) => await scene.Daemon.ExecuteAsync(
        "block-job-set-speed", new JsonObject { ["device"] = await AskAsync(scene, "id"), ["speed"] = speed });

    private static Task<string> StatusAsync(DomainScene scene) => AskAsync(scene, "status");

    // Of the first disk's job.
    private static async Task<string> AskAsync(DomainScene scene, string what)
    {
        await using var monitor = await scene.Daemon.OwnMonitorAsync();
        var jobs = await monitor.ExecuteAsync(new QmpCommand("query-jobs"), Token);
        return jobs.EnumerateArray().OrderBy(job => job.GetProperty("id").GetString(), StringComparer.Ordinal)
            .Select(job => job.GetProperty(what).GetString()!).FirstOrDefault("gone");
    }
}
