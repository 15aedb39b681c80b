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

    /// <summary>The names that <c>query-commands</c> returned.</summary>
    public required IReadOnlySet<string> Commands { get; init; }

    /// <summary>Whether the hypervisor has a command.</summary>
    public bool Has(string command) => Commands.Contains(command);

    /// <summary>The commands that a mode needs and the hypervisor does not have.</summary>
    public IReadOnlyList<string> Missing(Definitions.BackupMode mode) =>
    [
        .. s_needed.Concat(mode == Definitions.BackupMode.Pull ? s_neededForPull : []).Where(name =>
            !Commands.Contains(name)),
    ];
}
