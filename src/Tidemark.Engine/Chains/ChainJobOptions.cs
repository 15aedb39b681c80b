using Tidemark.Qmp;

namespace Tidemark.Engine.Chains;

/// <summary>What the jobs on backing chains are all told.</summary>
/// <param name="JobId">The job's name.</param>
/// <param name="Speed">Bytes a second; zero for no limit.</param>
/// <param name="AutoFinalize">Whether the job ends by itself.</param>
/// <param name="AutoDismiss">Whether it goes by itself.</param>
internal sealed record ChainJobOptions(string JobId, long Speed, bool AutoFinalize, bool AutoDismiss)
{
    /// <summary>Reads them.</summary>
    /// <param name="arguments">The command's arguments.</param>
    /// <param name="device">The node it works on, whose name is the job's unless it has one.</param>
    /// <param name="errorPolicies">The names of the options that say what an error does.</param>
    /// <exception cref="QmpException">One is malformed or not supported.</exception>
    internal static ChainJobOptions Read(
        QmpArguments arguments, string device, params ReadOnlySpan<string> errorPolicies)
    {
        foreach (var name in errorPolicies)
        {
            if (arguments.FindChoice(name, "report", "ignore", "enospc", "stop", "auto") is not (null or "report"))
            {
                throw Refuse($"Parameter '{arguments.FullName(name)}' supports only the value 'report'");
            }
        }

        var speed = arguments.FindInteger("speed") ?? 0;
        if (speed < 0)
        {
            throw Refuse("Parameter 'speed' expects a non-negative value");
        }

        return new ChainJobOptions(
            arguments.FindString("job-id") ?? device,
            speed,
            arguments.FindBoolean("auto-finalize") ?? true,
            arguments.FindBoolean("auto-dismiss") ?? true);
    }

    private static QmpException Refuse(string description) => new(QmpException.GenericError, description);
}
