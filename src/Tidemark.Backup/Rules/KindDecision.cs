using Tidemark.Backup.Definitions;

namespace Tidemark.Backup.Rules;

/// <summary>How a disk is read, and why.</summary>
/// <param name="Kind">How.</param>
/// <param name="Reason">Why; empty for an increment.</param>
public sealed record KindDecision(DiskKind Kind, string Reason);
