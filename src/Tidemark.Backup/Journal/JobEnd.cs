namespace Tidemark.Backup.Journal;

/// <summary>The end of a domain's backup, decided and durable before anything of it is taken away.</summary>
/// <param name="Result">How it ended.</param>
/// <param name="Error">The first error; null when there was none.</param>
/// <param name="At">When.</param>
/// <param name="KeepsCheckpoint">Whether the new checkpoint stays.</param>
/// <param name="KeepsTargets">Whether the targets stay under another name, because nobody can tell any more whether
/// they were complete.</param>
public sealed record JobEnd(
    JobResult Result, string? Error, DateTimeOffset At, bool KeepsCheckpoint, bool KeepsTargets = false);
