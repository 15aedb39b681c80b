namespace Tidemark.Backup.Graph;

/// <summary>What the hypervisor can do.</summary>
public sealed record HypervisorCapabilities
{
    private static readonly string[] s_needed =
        ["transaction", "blockdev-add", "blockdev-del", "query-named-block-nodes", "query-jobs", "job-cancel",
            "job-dismiss",
         "block-dirty-bitmap-remove"];

    private static readonly string[] s_neededForPull =
        ["blockdev-create", "block-export-add", "block-export-del", "query-block-exports"];

    /// <summary>What every QEMU from 5.2 on can do that Tidemark needs: assumed where none can be asked.</summary>
    public static HypervisorCapabilities Assumed { get; } = new()
    {
        Commands = new HashSet<string>(
            [.. s_needed, .. s_neededForPull, "nbd-server-start", "nbd-server-stop", "object-add", "object-del"],
            StringComparer.Ordinal),
    };

    /// <summary>The names that <c>query-commands</c> returned.</summary>
    public required IReadOnlySet<string> Commands { get; init; }

    /// <summary>
    /// Whether its backup jobs can be told to give the backup up, and never a guest's write, when old data cannot be
    /// saved in time: <c>on-cbw-error</c> and <c>cbw-timeout</c> of <c>blockdev-backup</c>, with a job that fails as
    /// soon as its point in time is lost. The embedded engine can; QEMU up to 10.0 has no such option, and a newer one
    /// is not taken at its option's word: over a scratch overlay a lost point in time would have to end the job to be
    /// seen.
    /// </summary>
    public bool BreaksSnapshot { get; init; }

    /// <summary>
    /// Whether asking for its nodes kills it, and the guest with it, while a backup job that has ended is still in its
    /// list of jobs. QEMU 5.2 does that, storage daemon and emulator alike (measured: segmentation fault in
    /// <c>query-named-block-nodes</c>; the ended job keeps its filter, <c>backup-top</c>, which has lost its child by
    /// then). 7.2, 10.0 and 11.1 do not (measured); what lies between was not tried and is taken to.
    /// </summary>
    public bool DiesOverEndedBackups { get; init; }

    /// <summary>Whether the hypervisor has a command.</summary>
    public bool Has(string command) => Commands.Contains(command);

    /// <summary>The commands that a mode needs and the hypervisor does not have.</summary>
    public IReadOnlyList<string> Missing(Definitions.BackupMode mode) =>
    [
        .. s_needed.Concat(mode == Definitions.BackupMode.Pull ? s_neededForPull : []).Where(name =>
            !Commands.Contains(name)),
    ];
}
