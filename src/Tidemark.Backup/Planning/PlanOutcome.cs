namespace Tidemark.Backup.Planning;

/// <summary>What the planner answers: a <see cref="BackupPlan"/> or a <see cref="PlanConflict"/>.</summary>
public abstract record PlanOutcome
{
    private protected PlanOutcome()
    {
    }
}
