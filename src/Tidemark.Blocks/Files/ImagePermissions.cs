namespace Tidemark.Blocks.Files;

/// <summary>
/// What somebody does with an image, or lets others do: QEMU's permissions (include/block/block-common.h).
/// </summary>
[Flags]
internal enum ImagePermissions
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>Reads what is the same as long as nobody writes.</summary>
    ConsistentRead = 1,

    /// <summary>Writes.</summary>
    Write = 2,

    /// <summary>Writes that leave what is read as it is.</summary>
    WriteUnchanged = 4,

    /// <summary>Changes the size.</summary>
    Resize = 8,

    /// <summary>Everything.</summary>
    All = ConsistentRead | Write | WriteUnchanged | Resize,
}
