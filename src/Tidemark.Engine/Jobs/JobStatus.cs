namespace Tidemark.Engine.Jobs;

/// <summary>Where a job stands; the names are QEMU's (qapi/job.json, JobStatus).</summary>
internal enum JobStatus
{
    Created,
    Running,
    Paused,
    Ready,
    Standby,
    Waiting,
    Pending,
    Aborting,
    Concluded,
    Null,
}
