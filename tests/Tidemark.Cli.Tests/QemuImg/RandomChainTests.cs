using Tidemark.Testing;

namespace Tidemark.Cli.Tests.QemuImg;

/// <summary>
/// Two copies of a chain of images go through the same random history: each step is done to one by
/// <c>tidemark image</c> and to the other by qemu-img, and who has which is decided anew each time. After each step
/// both read the same, and both programs describe, map and check each image alike.
/// </summary>
/// <remarks><c>TIDEMARK_SOAK=N</c>: N histories with each version in place of one.</remarks>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class RandomChainTests
{
    private const int Steps = 12;

    public static TheoryData<string> Versions => [.. QemuVersions.Wanted];

    [Theory]
    [MemberData(nameof(Versions))]
    public async Task Both_programs_do_the_same_to_a_chain(string name)
    {
        var version = QemuVersions.Need(name);
        var rounds = int.TryParse(Environment.GetEnvironmentVariable("TIDEMARK_SOAK"), out var soak) ? soak : 1;
        for (var round = 0; round < rounds; round++)
        {
            await TestSeed.RunAsync(async random =>
            {
                using RandomChain chain = new(version, random);
                await chain.CreateAsync();
                for (var step = 0; step < Steps; step++)
                {
                    await chain.StepAsync();
                    await chain.JudgeAsync();
                }
            });
        }
    }
}
