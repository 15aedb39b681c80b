namespace Tidemark.Backup.Domains;

/// <summary>Something that happened to a domain's backup.</summary>
/// <param name="Name">libvirt's name of the event: <c>block-job</c>, <c>block-job-2</c>, <c>job-completed</c>.</param>
/// <param name="At">When it was seen.</param>
/// <param name="Text">What virsh prints for it, without the domain.</param>
/// <param name="Job">The backup.</param>
public sealed record DomainEvent(string Name, DateTimeOffset At, string Text, DomainJobInfo Job)
{
    /// <summary>The names of all events.</summary>
    public static IReadOnlyList<string> Names { get; } = ["block-job", "block-job-2", "job-completed"];
}
