using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Interop.Tests.Kills;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary>
/// The hypervisor is killed before each command of a run, and after each command's effect, and started again on the
/// same images. What it held is gone with it; the next command takes back the rest. A bitmap that was in the image is
/// inconsistent then, one that was not is missing: both are listed so, an increment since such a checkpoint is refused
/// or, where that is allowed, read whole with the reason, and the checkpoint can be deleted.
/// </summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class HypervisorKilledTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Each hypervisor with each mode, or fewer.</summary>
    public static TheoryData<HypervisorKind, string, string> Cells =>
        Versions.WithModes((index, mode) => index != 0 && (mode == "push") == (index == 2));

    [Theory]
    [MemberData(nameof(Cells))]
    public async Task A_backup_of_a_domain_leaves_nothing(HypervisorKind kind, string version, string mode)
    {
        await using var desk = await DomainDesk.CreateAsync(kind, version, mode);
        var kills = new KillRun(desk.Scene, desk.Proxy);
        var hypervisor = desk.Scene.Hypervisor;
        var killed = 0;
        foreach (var (number, isAfter) in KillRun.Places(Soak.IsAsked ? 1 : 9))
        {
            await desk.RunAsync("checkpoint-create-as", "first");
            if (killed % 2 == 0)
            {
                // From now on the bitmap is in the image, not only in the hypervisor's memory.
                await hypervisor.StopAsync(Token);
                await hypervisor.StartAsync(Token);
            }

            var point = await kills.RunAsync(Victim.Hypervisor, number, isAfter, await desk.BeginAsync("second"));
            if (point is null)
            {
                await desk.CheckBegunAsync("second", givesUp: true, 0, "");
                break;
            }

            await hypervisor.StartAsync(Token);
            await AssertLeftOverAsync(desk, point, wasStored: killed++ % 2 == 0);
            await desk.RunAsync("checkpoint-delete", "first");
            Assert.Empty(await hypervisor.BitmapsAsync(Token));
        }

        Assert.InRange(killed, Soak.IsAsked ? 20 : 3, KillRun.MostCommands);
    }

    /// <summary>The hypervisor is killed while a verb ends a backup. A push that was complete is complete; what nobody
    /// saw end is not called so.</summary>
    [Theory]
    [MemberData(nameof(Cells))]
    public async Task An_end_of_a_backup_leaves_nothing(HypervisorKind kind, string version, string mode)
    {
        await using var desk = await DomainDesk.CreateAsync(kind, version, mode);
        var kills = new KillRun(desk.Scene, desk.Proxy);
        var killed = 0;
        foreach (var (number, isAfter) in KillRun.Places(Soak.IsAsked ? 1 : 7))
        {
            await desk.RunAsync("checkpoint-create-as", "first");
            await desk.Scene.Tidemark.RunOkAsync(await desk.BeginAsync("second"));
            var point = await kills.RunAsync(
                Victim.Hypervisor, number, isAfter, desk.Verb(await desk.EndingVerbAsync()));
            if (point is null)
            {
                await desk.CheckEndedAsync("second", writes: 0, "");
                break;
            }

            killed++;
            await desk.Scene.Hypervisor.StartAsync(Token);
            await AssertEndedAsync(desk, mode, point);
            await desk.RunAsync("checkpoint-delete", "first");
            Assert.Empty(await desk.Scene.Hypervisor.BitmapsAsync(Token));
        }

        Assert.InRange(killed, Soak.IsAsked ? 10 : 2, KillRun.MostCommands);
    }

    private static async Task AssertEndedAsync(DomainDesk desk, string mode, KillPoint point)
    {
        Assert.True((await desk.JobAsync()).GetProperty("type").GetInt32() == 0, $"it still runs. {point}");
        var isCompleted = (await desk.JobAsync(completed: true)).GetProperty("type_name").GetString() == "Completed";
        await desk.Scene.AssertNothingLeftAsync($"{point}");
        var left = Directory.EnumerateFileSystemEntries(desk.Images).ToList();
        Assert.True(
            left.SequenceEqual(mode == "pull" ? [] : [isCompleted ? desk.Target : desk.Target + ".unverified"]),
            $"{isCompleted}: {string.Join(' ', left)}. {point}");
        left.ForEach(File.Delete);

        // Of a completed backup the checkpoint stays, though its bitmap went with the hypervisor, and says so.
        var checkpoints = await desk.CheckpointsAsync();
        Assert.True(checkpoints == (isCompleted ? "first second" : "first"), $"{isCompleted}: {checkpoints}. {point}");
        if (isCompleted)
        {
            Assert.NotEqual("valid", await desk.StateAsync("second"));
            await desk.RunAsync("checkpoint-delete", "second");
        }

        var begun = await desk.Scene.Tidemark.RunAsync(await desk.BeginAsync("second", "--fallback-full"));
        Assert.True(begun.ExitCode == 0, $"{begun.Error}. {point}");
        await desk.CheckBegunAsync("second", givesUp: true, 0, $"the next one. {point}", "full");
    }

    private static async Task AssertLeftOverAsync(DomainDesk desk, KillPoint point, bool wasStored)
    {
        Assert.Equal("first", await desk.CheckpointsAsync());
        await desk.Scene.AssertNothingLeftAsync($"{point}");
        var left = Directory.EnumerateFileSystemEntries(desk.Images).ToList();

        // A push that had begun, and nobody saw its end: the target may be whole.
        left.RemoveAll(path => point.IsFrozen && path == desk.Target + ".unverified");
        Assert.True(left.Count == 0, $"{string.Join(' ', left)}. {point}");
        File.Delete(desk.Target + ".unverified");
        var state = await desk.StateAsync("first");
        var bitmaps = await desk.Scene.Hypervisor.BitmapsAsync(Token);
        var bitmap = bitmaps.SingleOrDefault();
        Assert.True(bitmap is not null || !wasStored, $"the bitmap that was in the image is gone. {point}");
        Assert.Equal(
            bitmap is null ? "missing" : bitmap.Inconsistent ? "inconsistent" : "valid", state);
        if (state != "valid")
        {
            var refused = await desk.Scene.Tidemark.RunAsync(await desk.BeginAsync("second"));
            Assert.True(refused.ExitCode != 0 && refused.Error.Contains("first"), $"{refused.Error}. {point}");
        }

        var begun = await desk.Scene.Tidemark.RunAsync(await desk.BeginAsync("second", "--fallback-full"));
        Assert.True(begun.ExitCode == 0, $"{begun.Error}. {point}");
        await desk.CheckBegunAsync(
            "second", givesUp: true, 0, $"the next one. {point}", state == "valid" ? "incremental" : "full");
    }
}
