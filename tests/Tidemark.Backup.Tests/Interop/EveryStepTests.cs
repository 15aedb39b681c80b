using Tidemark.Backup.Definitions;
using Tidemark.Qmp;

namespace Tidemark.Backup.Tests.Interop;

/// <summary>
/// A failure at each command of a run, one after the other. After each: nothing of the run is left, the older
/// checkpoint stands, and the next good backup is an increment and right.
/// </summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class EveryStepTests
{
    private const int Size = 2 << 20;
    private const int MostCommands = 200;

    [Theory]
    [InlineData(true, BackupMode.Pull, Fault.Refused)]
    [InlineData(true, BackupMode.Pull, Fault.AnswerLost)]
    [InlineData(true, BackupMode.Pull, Fault.Dead)]
    [InlineData(true, BackupMode.Push, Fault.Refused)]
    [InlineData(true, BackupMode.Push, Fault.AnswerLost)]
    [InlineData(true, BackupMode.Push, Fault.Dead)]
    [InlineData(false, BackupMode.Pull, Fault.AnswerLost)]
    [InlineData(false, BackupMode.Pull, Fault.Dead)]
    [InlineData(false, BackupMode.Push, Fault.Dead)]
    public async Task Nothing_is_left_and_the_next_backup_is_an_increment(bool embedded, BackupMode mode, Fault fault)
    {
        RealDaemonTests.Skip();
        await using var scene = new BackupScene();
        await scene.InitializeAsync();
        await using var daemon = new RealDaemon(scene.Folder, embedded, nbd: false, "vda");
        await daemon.CreateDisksAsync("2M");
        await daemon.StartAsync();
        var good = await scene.BackupAsync(daemon.Source, mode, disks: "vda");
        Assert.Equal(DiskKind.Full, good.Disks[0].Kind);

        var failed = 0;
        for (var command = 1; command < MostCommands; command++)
        {
            FaultyMonitor? faulty = null;
            var source = daemon.Source with
            {
                ConnectAsync = async token =>
                {
                    if (faulty is not null)
                    {
                        return fault != Fault.Dead
                            ? await daemon.Source.ConnectAsync(token)
                            : throw new QmpException(QmpException.MonitorClosed, "nobody there");
                    }

                    return faulty = new FaultyMonitor(await daemon.Source.ConnectAsync(token), command, fault);
                },
            };
            var error = await Record.ExceptionAsync(() => scene.BackupAsync(source, mode, disks: "vda"));
            if (!faulty!.HasFailed)
            {
                Assert.Null(error);
                break;
            }

            // A command that only tidies up may fail without failing the backup; then it is a restore point.
            failed += error is null ? 0 : 1;
            Assert.True(error is null or BackupException, $"command {command}: {error}");
            if (fault == Fault.Dead)
            {
                var next = await scene.BackupAsync(daemon.Source, mode, disks: "vda");
                Assert.True(next.Disks[0].Kind == DiskKind.Incremental, $"command {command}: {next.Disks[0].Reason}");
            }

            var left = await daemon.LeftoversAsync();
            Assert.True(left.Count == 0, $"command {command} ({error?.Message}): {string.Join(", ", left)}");
            Assert.All(scene.RunIds, id => Assert.False(Directory.Exists(Path.Combine(Path.GetTempPath(),
                $"tidemark-{id}"))));
        }

        Assert.InRange(failed, 8, MostCommands);
        var last = await scene.BackupAsync(daemon.Source, mode, disks: "vda");
        Assert.Equal(DiskKind.Incremental, last.Disks[0].Kind);
        Assert.Single(await daemon.BitmapsAsync());
        Assert.Empty(scene.Journals());
        Assert.Equal(new byte[Size], await scene.RestoreAsync(last.SnapshotId, "vda"));
        await scene.CheckRepositoryAsync();
    }
}
