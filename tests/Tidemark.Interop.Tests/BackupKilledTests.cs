using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Interop.Tests.Kills;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary>
/// <c>tidemark backup</c> is killed, or its hypervisor is, before each command of its run and after each command's
/// effect. The next backup removes what is left and is one instant; an increment, if the bitmap could be kept.
/// </summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class BackupKilledTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Who is killed, with each hypervisor and each mode, or fewer.</summary>
    public static TheoryData<Victim, HypervisorKind, string, string> Cells
    {
        get
        {
            var data = new TheoryData<Victim, HypervisorKind, string, string>();
            foreach (var ((kind, version), index) in Versions.Some.Select((each, index) => (each, index)))
            {
                foreach (var victim in Enum.GetValues<Victim>())
                {
                    foreach (var mode in new[] { "push", "pull" })
                    {
                        if (Soak.IsAsked || (index == (int)victim && mode == (index == 0 ? "push" : "pull")))
                        {
                            data.Add(victim, kind, version, mode);
                        }
                    }
                }
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Cells))]
    public async Task The_next_backup_is_right(Victim victim, HypervisorKind kind, string version, string mode)
    {
        Scene.SkipUnlessPossible();
        await using var scene = await Scene.CreateAsync(kind, diskCount: 1, version: Versions.Need(version));
        await scene.BackupAsync(mode);
        var killed = 0;
        await using (var proxy = new MonitorProxy(
            Path.Combine(scene.Folder, "proxy.sock"), scene.Hypervisor.MonitorPath))
        {
            var kills = new KillRun(scene, proxy);
            foreach (var (number, isAfter) in KillRun.Places(Soak.IsAsked ? 1 : 11))
            {
                await scene.WriteAsync(0, number);
                var point = await kills.RunAsync(
                    victim,
                    number,
                    isAfter,
                    [
                        "backup", $"qmp:{proxy.Path}", "--repo", scene.Tidemark.Repository, "--name", "vm", "--json",
                        "--mode", mode, .. scene.Hypervisor.NbdOptions,
                    ]);
                if (point is null)
                {
                    break;
                }

                killed++;
                if (victim == Victim.Hypervisor)
                {
                    await scene.Hypervisor.StartAsync(Token);
                }

                var keepsBitmap = (await scene.Hypervisor.BitmapsAsync(Token))
                    .Exists(bitmap => bitmap is { Persistent: true, Inconsistent: false });

                // By the same address: what a run left on this machine alone is looked for under that.
                var writes = scene.Writes.Completed;
                var report = await scene.Tidemark.BackupAsync(
                    $"qmp:{proxy.Path}", ["--mode", mode, .. scene.Hypervisor.NbdOptions]);
                var next = new Scene.Point(report, writes, writes);
                Assert.True(
                    next.Kinds.Single() == (keepsBitmap ? "incremental" : "re-read"),
                    $"{next.Kinds.Single()}, {keepsBitmap}. {point}");
                Assert.True(keepsBitmap || victim == Victim.Hypervisor, $"{point}");
                await scene.AssertNothingLeftAsync($"{point}");
                Assert.Single(await scene.Hypervisor.BitmapsAsync(Token));
                await scene.CheckRestoredAsync(next);
            }
        }

        Assert.InRange(killed, Soak.IsAsked ? 16 : 2, KillRun.MostCommands);
        await scene.Tidemark.ResticAsync("check", "--read-data");
    }
}
