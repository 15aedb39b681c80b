namespace Tidemark.Backup.Definitions;

/// <summary>What went wrong in a backup or a restore.</summary>
public enum BackupErrorKind
{
    /// <summary>The request contradicts itself or names what does not exist.</summary>
    Request,

    /// <summary>The XML of a backup or a checkpoint cannot be used; <see cref="BackupException.Class"/> says of which
    /// class the error is.</summary>
    Definition,

    /// <summary>The plan was refused: a <c>PlanConflict</c>.</summary>
    Conflict,

    /// <summary>Another run is under way on the same virtual machine and source.</summary>
    Busy,

    /// <summary>The hypervisor refused, died, or said something that cannot be understood.</summary>
    Hypervisor,

    /// <summary>The frozen view was lost, or not all of it arrived.</summary>
    Transfer,

    /// <summary>A restore point's description cannot be used.</summary>
    Manifest,

    /// <summary>The journal or the state directory cannot be used.</summary>
    State,

    /// <summary>The target of a restore cannot be written.</summary>
    Target,

    /// <summary>The run was cancelled by the user.</summary>
    Cancelled,
}
