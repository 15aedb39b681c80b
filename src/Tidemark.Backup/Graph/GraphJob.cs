namespace Tidemark.Backup.Graph;

/// <summary>A job of the hypervisor (QAPI <c>JobInfo</c>).</summary>
/// <param name="Id">The job's id.</param>
/// <param name="Type">For example <c>backup</c>.</param>
/// <param name="Status">QAPI <c>JobStatus</c>: <c>running</c>, <c>paused</c>, <c>concluded</c>…</param>
/// <param name="Error">What it failed with; null while it runs and after success.</param>
/// <param name="CurrentProgress">In the job's own unit.</param>
/// <param name="TotalProgress">In the job's own unit.</param>
public sealed record GraphJob(
    string Id, string Type, string Status, string? Error, long CurrentProgress, long TotalProgress)
{
    /// <summary>Whether the job has ended, well or not.</summary>
    public bool IsConcluded => Status is "concluded" or "null";

    /// <summary>Whether the job stands still until it is resumed or cancelled.</summary>
    public bool IsStill => Status is "paused" or "standby";
}
