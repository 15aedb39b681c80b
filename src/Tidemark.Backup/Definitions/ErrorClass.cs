namespace Tidemark.Backup.Definitions;

/// <summary>The classes of errors that libvirt distinguishes for backups and checkpoints, with its words for
/// them.</summary>
public enum ErrorClass
{
    /// <summary>The XML has another shape than its schema: an element, attribute or value that is not one.</summary>
    Schema,

    /// <summary>The XML is well formed and of the right shape, but contradicts itself or the virtual machine.</summary>
    Unsupported,

    /// <summary>What is asked for exists, but not here.</summary>
    OperationUnsupported,

    /// <summary>What is asked for cannot be done in the present state.</summary>
    OperationInvalid,

    /// <summary>It was tried and did not work, or a name is taken.</summary>
    OperationFailed,

    /// <summary>A name or path that cannot be used.</summary>
    InvalidArgument,

    /// <summary>There is no checkpoint of that name.</summary>
    CheckpointNotFound,

    /// <summary>A checkpoint's bitmaps cannot be trusted.</summary>
    CheckpointInconsistent,
}
