using Tidemark.Backup.Definitions;
using Tidemark.Backup.Domains;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Journal;

namespace Tidemark.Backup.Tests.Domains;

public sealed class JobJudgeTests
{
    [Theory]
    [InlineData("running", null, "running", null, null)]
    [InlineData("concluded", null, "running", null, null)]
    [InlineData("concluded", null, "concluded", null, JobResult.Completed)]
    [InlineData("running", null, "concluded", "No space left on device", JobResult.Failed)]
    [InlineData("concluded", "Operation canceled", "running", null, JobResult.Cancelled)]
    [InlineData("concluded", "Operation canceled", "concluded", "EIO", JobResult.Failed)]
    [InlineData("concluded", null, null, null, JobResult.Failed)]
    public void A_push_is_judged_by_all_its_jobs(
        string first, string? firstError, string? second, string? secondError, JobResult? expected) =>
        Assert.Equal(expected, Judge(BackupMode.Push, first, firstError, second, secondError));

    [Theory]
    [InlineData("running", null, "running", null, null)]
    [InlineData("running", null, "concluded", null, JobResult.Failed)]
    [InlineData("running", null, "concluded", "Operation canceled", JobResult.Failed)]
    [InlineData("running", null, null, null, JobResult.Failed)]
    public void A_pull_never_ends_by_itself(
        string first, string? firstError, string? second, string? secondError, JobResult? expected) =>
        Assert.Equal(expected, Judge(BackupMode.Pull, first, firstError, second, secondError));

    private static JobResult? Judge(
        BackupMode mode, string first, string? firstError, string? second, string? secondError)
    {
        List<GraphJob> jobs = [new("j0", "backup", first, firstError, 0, 1)];
        if (second is not null)
        {
            jobs.Add(new GraphJob("j1", "backup", second, secondError, 0, 1));
        }

        return JobJudge.Judge(
            new JournalJob { Mode = mode, Definition = "", Disks = [Disk("vda", "j0"), Disk("vdb", "j1")] },
            jobs)?.Result;
    }

    private static JournalJobDisk Disk(string name, string job) =>
        new() { Name = name, Node = name, JobId = job, TargetNode = "t", Size = 1 };
}
