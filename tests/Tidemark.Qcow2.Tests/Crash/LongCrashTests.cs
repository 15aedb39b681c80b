using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests.Crash;

/// <summary>Power failures in long histories, sampled: after each must hold what <see cref="CrashJudge"/>
/// says.</summary>
public sealed class LongCrashTests
{
    private const int Looks = 150;

    public static TheoryData<string> Names => [.. CrashScenarios.Long.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public Task CrashesOfALongHistory(string name) => TestSeed.RunAsync(async random =>
    {
        var scenario = CrashScenarios.Long[name]();
        var history = await CrashHistory.MakeAsync(random, scenario);
        await using CrashJudge judge = new(history, scenario.Backing);
        var every = Math.Max(1, history.Disk.Events.Count / Looks);
        await CrashReplay.RunAsync(history, judge, random, exhaustiveParts: 4, samples: 2, every);
        TestContext.Current.TestOutputHelper?.WriteLine($"{judge.Count} crashes");
        Assert.True(judge.Count > Looks / 2);
    });
}
