using Xunit;

namespace Tidemark.Tidy.Tests;

/// <summary>What a tidy test found: a failure names every finding in full, not the first few.</summary>
internal static class Findings
{
    public static void None(IEnumerable<string> findings)
    {
        var all = findings.ToArray();
        if (all.Length > 0)
        {
            Assert.Fail($"{all.Length} found:\n{string.Join('\n', all)}");
        }
    }
}
