using System.Text.Json.Nodes;

namespace Tidemark.Engine.Jobs;

/// <summary>Jobs as QMP shows them.</summary>
internal static class JobText
{
    /// <summary>The state's name on the wire.</summary>
    internal static string ToText(this JobStatus status) => status.ToString().ToLowerInvariant();

    /// <summary>An item of <c>query-jobs</c>.</summary>
    internal static JsonObject ToJobInfo(this Job job)
    {
        var info = new JsonObject
        {
            ["current-progress"] = job.CurrentProgress,
            ["status"] = job.Status.ToText(),
            ["total-progress"] = job.TotalProgress,
            ["type"] = job.Type,
            ["id"] = job.Id,
        };
        if (job.Error is { } error)
        {
            info["error"] = error;
        }

        return info;
    }

    /// <summary>An item of <c>query-block-jobs</c>.</summary>
    internal static JsonObject ToBlockJobInfo(this Job job)
    {
        var info = new JsonObject
        {
            ["auto-finalize"] = job.AutoFinalize,
            ["io-status"] = "ok",
            ["device"] = job.Id,
            ["auto-dismiss"] = job.AutoDismiss,
            ["busy"] = job.Status is JobStatus.Running or JobStatus.Ready,
            ["len"] = job.TotalProgress,
            ["offset"] = job.CurrentProgress,
            ["status"] = job.Status.ToText(),
            ["paused"] = job.Status == JobStatus.Paused,
            ["speed"] = job.Speed,
            ["ready"] = job.IsReady,
            ["type"] = job.Type,
        };
        if (job.Error is { } error)
        {
            info["error"] = error;
        }

        return info;
    }

    /// <summary>The data of <c>BLOCK_JOB_READY</c>, <c>BLOCK_JOB_COMPLETED</c> and
    /// <c>BLOCK_JOB_CANCELLED</c>.</summary>
    internal static JsonObject ToEndEvent(this Job job)
    {
        var data = new JsonObject
        {
            ["device"] = job.Id,
            ["len"] = job.TotalProgress,
            ["offset"] = job.CurrentProgress,
            ["speed"] = job.Speed,
            ["type"] = job.Type,
        };
        if (job.Error is { } error && !job.IsCancelled)
        {
            data["error"] = error;
        }

        return data;
    }
}
