using System.Text.Json.Nodes;
using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Actions;

/// <summary><c>blockdev-backup</c>: starts a job that copies the node as it is at the instant of the
/// transaction.</summary>
/// <param name="Node">The disk's own node.</param>
/// <param name="JobId">The job's id.</param>
/// <param name="Target">The node that gets the data.</param>
/// <param name="Sync">What the job copies by itself.</param>
/// <param name="Bitmap">The bitmap on <paramref name="Node"/> for <see cref="JobSync.Bitmap"/>; otherwise null.</param>
/// <param name="BreakSnapshot">Whether to say that the backup gives way, not the guest's write, when old data cannot be
/// saved; only to a hypervisor that has the option.</param>
public sealed record BackupJob(
    string Node, string JobId, string Target, JobSync Sync, string? Bitmap, bool BreakSnapshot = false)
    : TransactionAction
{
    /// <inheritdoc/>
    public override string Type => "blockdev-backup";

    /// <inheritdoc/>
    public override JsonObject ToData()
    {
        JsonObject data = new()
        {
            ["device"] = Node,
            ["job-id"] = JobId,
            ["target"] = Target,
            ["sync"] = Sync switch { JobSync.Full => "full", JobSync.Bitmap => "bitmap", _ => "none" },
        };
        if (Sync == JobSync.Bitmap)
        {
            data["bitmap"] = Bitmap;
            data["bitmap-mode"] = "never";
        }

        if (BreakSnapshot)
        {
            data["on-cbw-error"] = "break-snapshot";
            data["cbw-timeout"] = (long)BackupLimits.GuestPatience.TotalSeconds;
        }

        // The job stays in the list when it has ended, so that its result can be read whatever happens to its events.
        data["auto-finalize"] = true;
        data["auto-dismiss"] = false;
        return data;
    }
}
