using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;
using Tidemark.Backup.Tests.Interop;
using Tidemark.Qmp;

namespace Tidemark.Backup.Tests.Domains;

/// <summary>
/// A failure at each command of a backup's begin, one after the other. After each: nothing of it is left, the older
/// checkpoint stands, and the next backup is an increment.
/// </summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class DomainEveryStepTests
{
    private const int MostCommands = 100;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false, BackupMode.Pull, Fault.Refused)]
    [InlineData(false, BackupMode.Pull, Fault.Dead)]
    [InlineData(false, BackupMode.Push, Fault.Dead)]
    [InlineData(false, BackupMode.Push, Fault.Refused)]
    [InlineData(false, BackupMode.Pull, Fault.Closed)]
    [InlineData(true, BackupMode.Push, Fault.Refused)]
    [InlineData(true, BackupMode.Push, Fault.Closed)]
    [InlineData(true, BackupMode.Push, Fault.Dead)]
    [InlineData(true, BackupMode.Pull, Fault.Refused)]
    [InlineData(true, BackupMode.Pull, Fault.Dead)]
    public async Task Nothing_is_left(bool embedded, BackupMode mode, Fault fault)
    {
        await using var scene = await DomainScene.StartAsync(embedded, nbd: false, "vda");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        var failed = 0;
        for (var command = 1; command < MostCommands; command++)
        {
            FaultyMonitor? faulty = null;
            scene.Source = scene.Daemon.Source with
            {
                ConnectAsync = async token => faulty is null
                    ? faulty = new FaultyMonitor(await scene.Daemon.Source.ConnectAsync(token), command, fault)
                    : throw new QmpException(QmpException.MonitorClosed, "nobody there"),
            };
            var request = mode == BackupMode.Push
                ? scene.Push($"target{command}", "c1", "c2")
                : scene.Pull("c1", "c2");
            var error = await Record.ExceptionAsync(() => scene.Service.BeginAsync(request, Token));
            scene.Source = null;
            if (!faulty!.HasFailed)
            {
                Assert.Null(error);
                break;
            }

            if (error is null)
            {
                // The failure came after the backup had begun, at a question only.
                await GiveUpAsync(scene, mode);
                continue;
            }

            failed++;
            Assert.True(error is BackupException or QmpException, $"command {command}: {error}");
            var list = await scene.ListAsync();
            if (await scene.Service.ReadJobAsync(Token) is not null)
            {
                // The last question of the begin got no answer: the backup runs, and can be ended.
                await GiveUpAsync(scene, mode);
                list = await scene.ListAsync();
            }

            // A push that had begun may have ended well meanwhile.
            if (list.Contains("c2", StringComparison.Ordinal))
            {
                await ForgetAsync(scene);
                list = await scene.ListAsync();
            }

            Assert.True(list == "c1:Valid*", $"command {command}: {list}");
            await scene.NothingIsLeftAsync();
        }

        Assert.InRange(failed, 8, MostCommands);
        if (await scene.Service.ReadJobAsync(Token) is not null)
        {
            await GiveUpAsync(scene, mode);
        }
    }

    /// <summary>The same at each command of a backup's end: the next command goes on with it.</summary>
    [Theory]
    [InlineData(false, Fault.Refused)]
    [InlineData(false, Fault.AnswerLost)]
    [InlineData(true, Fault.Closed)]
    public async Task An_end_that_fails_is_gone_on_with(bool embedded, Fault fault)
    {
        await using var scene = await DomainScene.StartAsync(embedded, nbd: false, "vda");
        await scene.Checkpoints.CreateAsync(new CheckpointDefinition { Name = "c1" }, null, Token);
        var failed = 0;
        for (var command = 1; command < MostCommands; command++)
        {
            var begun = await scene.Service.BeginAsync(scene.Pull("c1", "c2"), Token);
            FaultyMonitor? faulty = null;
            scene.Source = scene.Daemon.Source with
            {
                ConnectAsync = async token =>
                    faulty = new FaultyMonitor(await scene.Daemon.Source.ConnectAsync(token), command, fault),
            };
            var error = await Record.ExceptionAsync(() => scene.Service.AbortAsync(givesUp: true, Token));
            scene.Source = null;
            Assert.True(error is null or BackupException or QmpException, $"command {command}: {error}");
            failed += error is null ? 0 : 1;
            if (await scene.Service.ReadJobAsync(Token) is not null)
            {
                // It failed before the end was decided.
                await scene.Service.AbortAsync(givesUp: true, Token);
            }

            Assert.Equal("c1:Valid*", await scene.ListAsync());
            await scene.NothingIsLeftAsync();
            var completed = (await scene.Service.ReadCompletedAsync(Token))!;
            Assert.Equal((begun.RunId, JobResult.Cancelled), (completed.RunId, completed.Result!.Value));
            if (!faulty!.HasFailed)
            {
                break;
            }
        }

        Assert.InRange(failed, 4, MostCommands);
    }

    // A push may end well before it is given up: then there is none to be given up.
    private static async Task GiveUpAsync(DomainScene scene, BackupMode mode)
    {
        var error = await Record.ExceptionAsync(() => scene.Service.AbortAsync(givesUp: true, Token));
        if (error is not null)
        {
            Assert.Equal(BackupMode.Push, mode);
            Assert.Contains("no job is active", error.Message, StringComparison.Ordinal);
            await ForgetAsync(scene);
        }
    }

    // Of a backup that has ended well the checkpoint is the backup's.
    private static async Task ForgetAsync(DomainScene scene)
    {
        Assert.Equal(JobResult.Completed, (await scene.Service.ReadCompletedAsync(Token))!.Result);
        await scene.Checkpoints.DeleteAsync("c2", false, false, false, Token);
    }
}
