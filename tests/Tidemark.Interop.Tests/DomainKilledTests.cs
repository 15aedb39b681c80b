using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Interop.Tests.Kills;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary>
/// <c>domain backup-begin</c> is killed before each command that it would send, and after each command's effect, one
/// after the other. Killed before its transaction: the next command of the domain takes everything back. Killed after
/// it: the backup has begun, and the next command finds it; it is right, can be ended, and its checkpoint stays or goes
/// as that of any other backup (docs/design/010). Either way nothing else is left, the older checkpoint stands, and the
/// next backup is an increment.
/// </summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class DomainKilledTests
{
    /// <summary>Each hypervisor with each mode, or fewer.</summary>
    public static TheoryData<HypervisorKind, string, string> Cells =>
        Versions.WithModes((index, mode) => index != 1 && (mode == "push") == (index == 0));

    [Theory]
    [MemberData(nameof(Cells))]
    public async Task A_begin_that_is_killed_has_begun_or_leaves_nothing(
        HypervisorKind kind, string version, string mode)
    {
        await using var desk = await DomainDesk.CreateAsync(kind, version, mode);
        var kills = new KillRun(desk.Scene, desk.Proxy);
        await desk.RunAsync("checkpoint-create-as", "first");
        await desk.Scene.WriteAsync(0, 77);
        var (undone, begun) = (0, 0);
        foreach (var (number, isAfter) in KillRun.Places(Soak.IsAsked ? 1 : 3))
        {
            var checkpoint = $"c{number}{(isAfter ? "after" : "")}";
            var point = await kills.RunAsync(
                Victim.Tidemark, number, isAfter, await desk.BeginAsync(checkpoint));
            if (point is { IsFrozen: false })
            {
                undone++;
                var listed = await desk.CheckpointsAsync();
                Assert.True(listed == "first", $"{listed}. {point}");
                await desk.Scene.AssertNothingLeftAsync($"{point}");
                var bitmap = Assert.Single(await desk.Scene.Hypervisor.BitmapsAsync(
                    TestContext.Current.CancellationToken));
                Assert.Equal("first", bitmap.Name);
                Assert.Empty(Directory.EnumerateFileSystemEntries(desk.Images));
                continue;
            }

            begun += point is null ? 0 : 1;
            await CheckBegunAsync(desk, checkpoint, givesUp: begun % 2 == 1, $"{point}");
            if (point is null)
            {
                break;
            }
        }

        // Of every third place none need lie after the transaction: that one is always tried.
        var transaction = await kills.RunAsync(
            Victim.Tidemark, KillRun.TheTransaction, isAfter: true, await desk.BeginAsync("transaction"));
        Assert.True(transaction is { IsFrozen: true }, $"{transaction}");
        await CheckBegunAsync(desk, "transaction", givesUp: true, $"{transaction}");
        Assert.InRange(undone, Soak.IsAsked ? 16 : 5, KillRun.MostCommands);
    }

    /// <summary>The verb that ends a pull, or finds a push ended, is killed at each of its commands: the next one goes
    /// on, and the backup is as good as if nobody had been killed.</summary>
    [Theory]
    [MemberData(nameof(Cells))]
    public async Task An_end_that_is_killed_is_gone_on_with(HypervisorKind kind, string version, string mode)
    {
        await using var desk = await DomainDesk.CreateAsync(kind, version, mode);
        var kills = new KillRun(desk.Scene, desk.Proxy);
        await desk.RunAsync("checkpoint-create-as", "first");
        await desk.Scene.WriteAsync(0, 77);
        var killed = 0;
        foreach (var (number, isAfter) in KillRun.Places(Soak.IsAsked ? 1 : 5))
        {
            var checkpoint = $"c{number}{(isAfter ? "after" : "")}";
            await desk.Scene.Tidemark.RunOkAsync(await desk.BeginAsync(checkpoint));
            var point = await kills.RunAsync(
                Victim.Tidemark, number, isAfter, desk.Verb(await desk.EndingVerbAsync()));
            await desk.CheckEndedAsync(checkpoint, writes: 1, $"{point}");
            Assert.Equal("first", await desk.CheckpointsAsync());
            Assert.Equal("valid", await desk.StateAsync("first"));
            if (point is null)
            {
                break;
            }

            killed++;
        }

        Assert.InRange(killed, Soak.IsAsked ? 10 : 2, KillRun.MostCommands);
    }

    private static async Task CheckBegunAsync(DomainDesk desk, string checkpoint, bool givesUp, string where)
    {
        await desk.CheckBegunAsync(checkpoint, givesUp, writes: 1, where);
        Assert.Equal("first", await desk.CheckpointsAsync());
        Assert.Equal("valid", await desk.StateAsync("first"));
    }
}
