namespace Tidemark.Backup.Journal;

/// <summary>How a domain's backup ended. The numbers are libvirt's (<c>virDomainJobType</c>).</summary>
public enum JobResult
{
    /// <summary>Push: everything was written. Pull: the client said that it has read what it wanted.</summary>
    Completed = 3,

    /// <summary>Something went wrong.</summary>
    Failed = 4,

    /// <summary>It was given up.</summary>
    Cancelled = 5,
}
