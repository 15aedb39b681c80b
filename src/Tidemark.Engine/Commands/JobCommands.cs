using System.Text.Json.Nodes;
using Tidemark.Engine.Jobs;
using Tidemark.Qmp;

namespace Tidemark.Engine.Commands;

/// <summary>The verbs and queries of jobs, the older ones of block jobs among them.</summary>
internal sealed class JobCommands
{
    private readonly JobSet _jobs;

    private JobCommands(JobSet jobs) => _jobs = jobs;

    internal static void AddTo(CommandTable table, JobSet jobs)
    {
        var commands = new JobCommands(jobs);
        table.Add("query-jobs", (arguments, _) => commands.Query(arguments, block: false));
        table.Add("query-block-jobs", (arguments, _) => commands.Query(arguments, block: true));
        table.Add("job-cancel", (arguments, _) => jobs.CancelAsync(commands.Find(arguments)));
        table.Add("job-finalize", (arguments, _) => jobs.FinalizeAsync(commands.Find(arguments)));
        table.Add("job-dismiss", arguments => jobs.Dismiss(commands.Find(arguments)));
        table.Add("job-pause", arguments => JobSet.Pause(commands.Find(arguments)));
        table.Add("job-resume", arguments => JobSet.Resume(commands.Find(arguments)));
        table.Add("job-complete", arguments => JobSet.Complete(commands.Find(arguments)));
        table.Add("block-job-cancel", (arguments, _) =>
        {
            var force = arguments.FindBoolean("force") ?? false;
            return jobs.CancelAsync(commands.FindBlock(arguments, "device"), force);
        });
        table.Add("block-job-finalize", (arguments, _) => jobs.FinalizeAsync(commands.FindBlock(arguments, "id")));
        table.Add("block-job-dismiss", arguments => jobs.Dismiss(commands.FindBlock(arguments, "id")));
        table.Add("block-job-pause", arguments => JobSet.Pause(commands.FindBlock(arguments, "device")));
        table.Add("block-job-resume", arguments => JobSet.Resume(commands.FindBlock(arguments, "device")));
        table.Add("block-job-complete", arguments => JobSet.Complete(commands.FindBlock(arguments, "device")));
    }

    private ValueTask<JsonNode> Query(QmpArguments arguments, bool block)
    {
        arguments.CheckNothingLeft();
        JsonArray list = [];
        foreach (var job in _jobs.All)
        {
            if (!block)
            {
                list.Add((JsonNode)job.ToJobInfo());
            }
            else if (job.IsBlockJob)
            {
                list.Add((JsonNode)job.ToBlockJobInfo());
            }
        }

        return ValueTask.FromResult<JsonNode>(list);
    }

    private Job Find(QmpArguments arguments)
    {
        var id = arguments.GetString("id");
        arguments.CheckNothingLeft();
        return _jobs.Find(id) ?? throw new QmpException(QmpException.GenericError, "Job not found");
    }

    private Job FindBlock(QmpArguments arguments, string member)
    {
        var id = arguments.GetString(member);
        arguments.CheckNothingLeft();
        return _jobs.Find(id) is { IsBlockJob: true } job
            ? job
            : throw new QmpException("DeviceNotActive", $"Block job '{id}' not found");
    }
}
