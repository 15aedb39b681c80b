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

    /// <summary>What <c>./test</c> has time for: a storage daemon, the newest QEMU, ours; all when more is asked
    /// for.</summary>
    public static IEnumerable<(HypervisorKind Kind, string Version)> Some =>
        Soak.IsAsked
            ? All.Where(one => Soak.Wants(one.Version))
            :
            [
                (HypervisorKind.QemuStorageDaemon, "7.2"), (HypervisorKind.QemuSystem, QemuVersions.Wanted[^1]),
                (HypervisorKind.EmbeddedEngine, Ours),
            ];

    /// <summary>Each kind with each version, as a theory's data.</summary>
    public static TheoryData<HypervisorKind, string> Everywhere => Rows(All);

    /// <summary>What there is time for, as a theory's data.</summary>
    public static TheoryData<HypervisorKind, string> Somewhere => Rows(Some);

    /// <summary>The QEMU of a row, or null for ours; the test is skipped with the reason if it is not there.</summary>
    public static QemuVersion? Need(string version) => version == Ours ? null : QemuVersions.Need(version);

    private static TheoryData<HypervisorKind, string> Rows(IEnumerable<(HypervisorKind Kind, string Version)> rows)
    {
        var data = new TheoryData<HypervisorKind, string>();
        foreach (var (kind, version) in rows)
        {
            data.Add(kind, version);
        }

        return data;
    }

    /// <summary>Each of <see cref="Some"/> with push and with pull; without TIDEMARK_SOAK those of a sample.</summary>
    /// <param name="isInSample">Told a hypervisor's index and the mode.</param>
    public static TheoryData<HypervisorKind, string, string> WithModes(Func<int, string, bool> isInSample)
    {
        var data = new TheoryData<HypervisorKind, string, string>();
        foreach (var ((kind, version), index) in Some.Select((each, index) => (each, index)))
        {
            foreach (var mode in new[] { "push", "pull" })
            {
                if (Soak.IsAsked || isInSample(index, mode))
                {
                    data.Add(kind, version, mode);
                }
            }
        }

        return data;
    }
}
