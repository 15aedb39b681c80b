using Tidemark.Testing;
using Xunit;

namespace Tidemark.Interop.Tests.Hypervisors;

/// <summary>The hypervisors of the tests that go through the versions: each QEMU, both its programs; ours.</summary>
public static class Versions
{
    /// <summary>What stands for the embedded engine, which has no QEMU version.</summary>
    public const string Ours = "ours";

    /// <summary>Each kind with each version.</summary>
    public static IEnumerable<(HypervisorKind Kind, string Version)> All =>
    [
        .. QemuVersions.Wanted.SelectMany(version => new[]
        {
            (HypervisorKind.QemuStorageDaemon, version), (HypervisorKind.QemuSystem, version),
        }),
        (HypervisorKind.EmbeddedEngine, Ours),
    ];

    /// <summary>The same, as a theory's data.</summary>
    public static TheoryData<HypervisorKind, string> Everywhere
    {
        get
        {
            var data = new TheoryData<HypervisorKind, string>();
            foreach (var (kind, version) in All)
            {
                data.Add(kind, version);
            }

            return data;
        }
    }

    /// <summary>The QEMU of a row, or null for ours; the test is skipped with the reason if it is not there.</summary>
    public static QemuVersion? Need(string version) => version == Ours ? null : QemuVersions.Need(version);
}
