using Xunit;

namespace Tidemark.Qcow2.Tests.Differential;

/// <summary><see cref="DifferentialHistory"/> with QEMU 10.0.</summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class Qemu100DifferentialTests
{
    private const string Qemu = "10.0";

    public static TheoryData<string> Kinds => DifferentialHistory.KindsOf(Qemu);

    [Theory]
    [MemberData(nameof(Kinds))]
    public Task BackAndForth(string kind) => DifferentialHistory.RunAsync(Qemu, kind);
}
