namespace Tidemark.Backup.Tests.Interop;

/// <summary>What happens at one command.</summary>
public enum Fault
{
    /// <summary>It is refused and has no effect.</summary>
    Refused,

    /// <summary>It is carried out, but the monitor is closed before the answer; a new one can be had.</summary>
    AnswerLost,

    /// <summary>The monitor is closed before it is carried out.</summary>
    Closed,

    /// <summary>As if its answer were lost, and no monitor can be had before the next run: as if Tidemark had been
    /// killed.</summary>
    Dead,
}
