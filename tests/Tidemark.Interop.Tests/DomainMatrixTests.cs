using Tidemark.Interop.Tests.Domains;
using Tidemark.Interop.Tests.Hypervisors;
using Xunit;

namespace Tidemark.Interop.Tests;

/// <summary>
/// The matrix through the <c>domain</c> verbs: each QEMU and storage daemon and the embedded engine, push to qcow2 and
/// raw images and pull, one disk and three, each a chain of three images; full, incremental, across an external
/// snapshot, across its commit, after a restart, and after a checkpoint in the middle was deleted. Every backup is the
/// state at its transaction, to the byte; and an increment is exactly the granules that the guest has written. The last
/// push goes into images that are there, over what they hold of the backup before: they are the disk then, raw ones
/// too.
/// </summary>
[Trait("Category", "Interop")]
[Trait("Category", "Long")]
public sealed class DomainMatrixTests
{
    /// <summary>Each hypervisor with push and with pull, with one disk and with three, the first disk's targets being
    /// qcow2 and raw by turns, or raw and qcow2; without TIDEMARK_SOAK one of each pair, on each hypervisor.</summary>
    public static TheoryData<HypervisorKind, string, string, int, string> Cells
    {
        get
        {
            var data = new TheoryData<HypervisorKind, string, string, int, string>();
            foreach (var (index, (kind, version)) in (Soak.IsAsked ? Versions.Some : Versions.All).Index())
            {
                foreach (var (turn, mode) in new[] { "push", "pull" }.Index())
                {
                    foreach (var diskCount in new[] { 1, 3 })
                    {
                        if (Soak.IsAsked || (index + turn) % 2 == 0 == (diskCount == 3))
                        {
                            // What the second format would show, the further disks show where there are three.
                            data.Add(kind, version, mode, diskCount, index % 2 == 0 ? "qcow2" : "raw");
                            if (Soak.IsAsked && mode == "push" && diskCount == 1)
                            {
                                data.Add(kind, version, mode, diskCount, index % 2 == 0 ? "raw" : "qcow2");
                            }
                        }
                    }
                }
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Cells))]
    public async Task Every_backup_is_its_instant_and_every_increment_what_was_written(
        HypervisorKind kind, string version, string mode, int diskCount, string format)
    {
        Scene.SkipUnlessPossible("nbdinfo");
        await using var machine = await DomainMachine.CreateAsync(kind, version, diskCount, format);
        await machine.WriteAsync();
        await machine.BackupAsync(mode, "c1", since: null);

        await machine.WriteAsync();
        await machine.BackupAsync(mode, "c2", since: "c1");
        await machine.NothingIsLeftAsync();

        await machine.WriteAsync();
        await machine.SnapshotAsync("s1");
        await machine.WriteAsync();
        await machine.BackupAsync(mode, "c3", since: "c2");

        await machine.WriteAsync();
        await machine.CommitAsync();
        await machine.WriteAsync();
        Assert.Equal("c1:valid c2:valid c3:valid", await machine.CheckpointsAsync());
        await machine.BackupAsync(mode, "c4", since: "c3");
        await machine.NothingIsLeftAsync();

        await machine.RestartAsync();
        await machine.WriteAsync();
        await machine.BackupAsync(mode, "c5", since: "c4");

        await machine.DoAsync("checkpoint-delete", "c3");
        await machine.WriteAsync();
        Assert.Equal("c1:valid c2:valid c4:valid c5:valid", await machine.CheckpointsAsync());
        await machine.BackupAsync(mode, "c6", since: "c2");
        await machine.BackupAsync(mode, "c7", since: "c4", intoCopies: mode == "push");
        await machine.NothingIsLeftAsync();
    }
}
