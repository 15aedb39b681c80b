using System.Text.Json;
using Tidemark.Backup.Planning;
using Tidemark.Qmp;

namespace Tidemark.Backup.Tests.Planning;

/// <summary>The commands that steps send.</summary>
internal static class PlanCommands
{
    /// <summary>What is sent, in order; without what takes it back.</summary>
    internal static IEnumerable<JsonElement> Of(IEnumerable<PlanStep> steps) => Sent(steps).Select(command =>
    {
        using var document = JsonDocument.Parse(PlanText.Render(command));
        return document.RootElement.Clone();
    });

    /// <summary>What is sent, in order.</summary>
    internal static IEnumerable<QmpCommand> Sent(IEnumerable<PlanStep> steps)
    {
        foreach (var step in steps)
        {
            switch (step)
            {
                case PlanStep.Command command:
                    yield return command.Qmp;
                    break;
                case PlanStep.Job job:
                    yield return job.Qmp;
                    break;
                case PlanStep.Transaction transaction:
                    yield return transaction.ToCommand();
                    break;
                default:
                    break;
            }
        }
    }
}
