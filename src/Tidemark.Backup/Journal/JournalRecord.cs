using Tidemark.Backup.Planning;

namespace Tidemark.Backup.Journal;

/// <summary>What a journal says of a run.</summary>
public sealed record JournalRecord
{
    /// <summary>The run's id.</summary>
    public required string RunId { get; init; }

    /// <summary>The virtual machine's name.</summary>
    public required string VmName { get; init; }

    /// <summary>The source that was backed up.</summary>
    public required string Source { get; init; }

    /// <summary>What takes the run's effects back, in the order of the effects. The last ones may not have
    /// happened.</summary>
    public IReadOnlyList<UndoAction> Undo { get; init; } = [];

    /// <summary>Whether the transaction's effect, and with it the hypervisor's NBD server, certainly took
    /// place.</summary>
    public bool ServerStarted { get; init; }

    /// <summary>The restore point's snapshot id, once it was durable; null before.</summary>
    public string? Committed { get; init; }

    /// <summary>A domain's backup; null when it had not got so far, and for runs into a repository.</summary>
    public JournalJob? Job { get; init; }

    /// <summary>When the transaction was about to be sent; null when it was not.</summary>
    public DateTimeOffset? Freezing { get; init; }

    /// <summary>Whether the begin of a domain's backup has failed, so that everything of it is to be taken
    /// back.</summary>
    public bool HasFailed { get; init; }

    /// <summary>When the domain's backup had begun for certain: the instant of its transaction.</summary>
    public DateTimeOffset? Begun { get; init; }

    /// <summary>How the domain's backup ended; null while it runs.</summary>
    public JobEnd? Ended { get; init; }
}
