using Tidemark.Backup.Definitions;
using Tidemark.Backup.Journal;

namespace Tidemark.Backup.Domains;

/// <summary>Backups that stand at a hypervisor and are in the journal of another domain: the same hypervisor, named
/// otherwise when they were begun. They are not touched, but told: only under that name are they found.</summary>
internal static class StrayRuns
{
    /// <summary>What to say of the first of them.</summary>
    /// <param name="options">Where the state is kept.</param>
    /// <param name="own">The folder of the domain that asks.</param>
    /// <param name="names">Names of nodes or jobs at the hypervisor.</param>
    /// <returns>Null when there is none.</returns>
    internal static string? Describe(DomainServiceOptions options, DomainFolder own, IEnumerable<string> names)
    {
        var ours = Runs(own).ToHashSet(StringComparer.Ordinal);
        var stray = names.Select(RunNames.RunOfTemporary).FirstOrDefault(run => run is not null && !ours.Contains(run));
        if (stray is null)
        {
            return null;
        }

        var journal = options.State.DomainFolders().Where(path => path != own.Path)
            .Select(path => Read(new DomainFolder(path))).FirstOrDefault(record => record?.RunId == stray);
        return journal is null
            ? $"what run {stray} has made is at this hypervisor, and no journal of a domain tells of it: it is one of "
                + "'tidemark backup', or of another --state-dir"
            : $"run {stray} is at this hypervisor, begun under another name of it: --monitor {journal.Source}"
                + (journal.VmName == journal.Source ? "" : $" --domain {journal.VmName}") + " finds it";
    }

    private static IEnumerable<string> Runs(DomainFolder folder) => Read(folder) is { } record ? [record.RunId] : [];

    // A journal that cannot be read is reported to its own domain's next command.
    private static JournalRecord? Read(DomainFolder folder)
    {
        try
        {
            return folder.Run.ReadJournal();
        }
        catch (BackupException)
        {
            return null;
        }
    }
}
