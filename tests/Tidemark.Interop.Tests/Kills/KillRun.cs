using System.Diagnostics;
using Tidemark.Interop.Tests.Hypervisors;
using Xunit;

namespace Tidemark.Interop.Tests.Kills;

/// <summary>Runs the program and kills it, or its hypervisor, between two steps of its run.</summary>
/// <param name="scene">Where it plays.</param>
/// <param name="proxy">The monitor that the program is given.</param>
internal sealed class KillRun(Scene scene, MonitorProxy proxy)
{
    public const int MostCommands = 150;

    /// <summary>Instead of a number: after the transaction, whichever command that is.</summary>
    public const int TheTransaction = -1;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>The places of a run, in their order: before each command, and after its effect.</summary>
    /// <param name="step">Every one, or fewer.</param>
    public static IEnumerable<(int Number, bool IsAfter)> Places(int step)
    {
        // The first command opens the monitor's conversation: nothing can have happened before it.
        for (var place = 3; place < 2 * MostCommands; place += step)
        {
            yield return (place / 2, place % 2 == 1);
        }
    }

    /// <summary>Runs it once.</summary>
    /// <returns>Where somebody was killed; null when the run ended before it came there, which it must do
    /// well.</returns>
    public async Task<KillPoint?> RunAsync(Victim victim, int number, bool isAfter, params string[] arguments)
    {
        var (commands, replies) = (0, 0);
        var last = "";
        var isFrozen = false;
        KillPoint? point = null;
        var killing = Task.CompletedTask;
        var started = new TaskCompletionSource<Process>(TaskCreationOptions.RunContinuationsAsynchronously);

        // The program may end before its hypervisor is quite dead: who was killed is known from the first moment.
        async Task<bool> KillAsync(bool frozen)
        {
            point = new KillPoint(number, isAfter, last, frozen, "");
            killing = KillVictimAsync();
            await killing;
            return false;
        }

        async Task KillVictimAsync()
        {
            var process = await started.Task;
            if (victim == Victim.Tidemark)
            {
                process.Kill();
            }
            else
            {
                await scene.Hypervisor.FlushAsync(Token);
                await scene.Hypervisor.KillAsync();
            }
        }

        proxy.OnCommand = async line =>
        {
            commands++;
            last = line.Length > 100 ? line[..100] : line;
            return point is not null || isAfter || commands != number || await KillAsync(isFrozen);
        };
        proxy.OnReply = async line =>
        {
            replies++;
            isFrozen |= last.Contains("\"transaction\"") && line.Contains("\"return\"");
            var isThere = number == TheTransaction ? isFrozen : replies == number;
            return point is not null || !isAfter || !isThere || await KillAsync(isFrozen);
        };
        using var run = scene.Tidemark.StartQuietly(arguments);
        started.SetResult(run);
        var said = run.StandardError.ReadToEndAsync(Token);
        await run.WaitForExitAsync(Token).WaitAsync(TimeSpan.FromMinutes(2), Token);
        (proxy.OnCommand, proxy.OnReply) = (null, null);
        await killing;
        Assert.True(
            point is not null || run.ExitCode == 0,
            $"the run failed by itself before place {number}, {isAfter}: {await said}");
        return point is null ? null : point with { Said = $"{run.ExitCode}: {await said}" };
    }
}
