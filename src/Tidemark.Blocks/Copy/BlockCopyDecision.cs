namespace Tidemark.Blocks.Copy;

/// <summary>
/// What becomes of a step of a copy that failed. There is no "leave it out": an uncopied cluster is never passed over.
/// </summary>
public enum BlockCopyDecision
{
    /// <summary>The copy ends with this error.</summary>
    Fail,

    /// <summary>The clusters are tried again.</summary>
    Retry,
}
