namespace Tidemark.Backup.Restore;

/// <summary>What a restored disk is written as.</summary>
public enum RestoreFormat
{
    /// <summary>The disk's bytes; zeroes are holes.</summary>
    Raw,

    /// <summary>A qcow2 image, version 3; zeroes are not allocated.</summary>
    Qcow2,
}
