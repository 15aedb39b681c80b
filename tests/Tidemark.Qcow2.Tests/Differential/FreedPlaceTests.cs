using Tidemark.Blocks.Files;
using Tidemark.Qcow2.Checking;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Qcow2.Tests.Differential;

/// <summary>
/// Compressed clusters share host clusters: the next one is packed behind the last. When that place has been freed
/// meanwhile and its host cluster holds other data, QEMU (5.2 to 11.1) packs on all the same, into that data. Here it
/// may not happen, and a check must find it in an image to which it has happened.
/// </summary>
[Trait("Category", "Interop")]
public sealed class FreedPlaceTests
{
    private const int Cluster = 65536;

    private static readonly DiskChange[] s_history =
    [
        new(DiskChangeKind.Compressed, 0, Cluster, 1),
        new(DiskChangeKind.Write, 0, Cluster, 2),
        new(DiskChangeKind.Write, Cluster, Cluster, 3),
        new(DiskChangeKind.Compressed, 2 * Cluster, Cluster, 4),
    ];

    public static TheoryData<string> Versions => [.. QemuVersions.Wanted];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Versions))]
    public async Task NothingIsPackedIntoAPlaceThatWasFreed(string version)
    {
        var qemu = QemuVersions.Need(version);
        using TemporaryDirectory directory = new(inMemory: true);
        var path = directory.File("a.qcow2");
        DifferentialKind kind = new("freed", "")
        {
            Length = 4 * Cluster, Ours = new Qcow2CreateOptions { Length = 4 * Cluster },
        };
        DiskModel model = new(kind.Length);
        OurSide ours = new(kind, path, null, null);
        await ours.CreateAsync();
        await ours.ChangeAsync(model, s_history, flushes: false);
        await new QemuSide(qemu, kind, path).JudgeAsync(model, directory.File("read.raw"));
        await ours.JudgeAsync(model);

        // And when the freed cluster is handed out for certain, because a flush has made it free for good.
        await ours.ChangeAsync(model, s_history, flushes: true);
        await new QemuSide(qemu, kind, path).JudgeAsync(model, directory.File("read.raw"));
        await ours.JudgeAsync(model);
    }

    [Theory]
    [MemberData(nameof(Versions))]
    public async Task ACheckFindsDataThatQemuHasPackedInto(string version)
    {
        var qemu = QemuVersions.Need(version);
        using TemporaryDirectory directory = new(inMemory: true);
        var path = directory.File("a.qcow2");
        QemuSide theirs = new(qemu, new DifferentialKind("freed", "") { Length = 4 * Cluster }, path);
        await theirs.CreateAsync(directory.File("none"), null);
        await theirs.DoAsync(new DiskModel(4 * Cluster), [.. s_history], unmaps: true);
        var says = await Tool.RunAsync(qemu.Program("qemu-img"), ["check", "-f", "qcow2", path]);
        await using var file = RawFileNode.Open("file", path, readOnly: true);
        var report = await Qcow2Check.RunAsync(file, Token);

        // A release that does it right leaves nothing to find.
        Assert.Equal(says.ExitCode != 0, report.Corruptions > 0);
    }
}
