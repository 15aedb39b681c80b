using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests.Crash;

/// <summary>Power failures in short histories, exhaustively: every prefix that the flushes allow, with the unflushed
/// writes in every subset, torn at sectors, as long as they are few; samples where they are many.</summary>
public sealed class ShortCrashTests
{
    private const int ExhaustiveParts = 9;

    public static TheoryData<string> Names => [.. CrashScenarios.Short.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public Task EveryCrashOfAShortHistory(string name) => TestSeed.RunAsync(async random =>
    {
        var crashes = 0;
        for (var round = 0; round < 6; round++)
        {
            var scenario = CrashScenarios.Short[name]();
            var history = await CrashHistory.MakeAsync(random, scenario);
            await using CrashJudge judge = new(history, scenario.Backing);
            await CrashReplay.RunAsync(history, judge, random, ExhaustiveParts, samples: 40);
            crashes += judge.Count;
        }

        TestContext.Current.TestOutputHelper?.WriteLine($"{crashes} crashes");
        Assert.True(crashes > 100);
    });
}
