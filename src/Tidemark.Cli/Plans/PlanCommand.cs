using System.CommandLine;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Plans;

/// <summary><c>tidemark plan</c>: the same decisions as those of a backup, made from files and printed. Nothing is
/// touched, and no hypervisor is asked.</summary>
internal static class PlanCommand
{
    /// <summary>Builds the verb.</summary>
    public static Command Create(CommandConsole console) => new(
        "plan", "Decide from recorded replies what would be sent to a hypervisor, and print it.")
    {
        BitmapPlans.Backup(console),
        BitmapPlans.CheckpointDelete(console),
        BitmapPlans.Validate(console),
        BitmapPlans.Bitmaps(console),
        ChangePlans.Commit(console),
        ChangePlans.Copy(console),
        ChangePlans.Stream(console),
        ChangePlans.Snapshot(console),
        XmlPlans.Create(console),
        RunPlan.Create(console),
    };
}
