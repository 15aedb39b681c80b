namespace Tidemark.Qcow2;

/// <summary>What opening for writing does with a bitmap directory that contradicts the format.</summary>
public enum BrokenBitmapPolicy
{
    /// <summary>The image is not opened for writing, as QEMU does it.</summary>
    Refuse,

    /// <summary>The directory is left where it is, but its autoclear bit is cleared: whoever opens the image knows that
    /// its bitmaps are not in step. Nothing of them is lost.</summary>
    KeepAside,

    /// <summary>The image forgets the whole directory. Its clusters are leaks until a check repairs them.</summary>
    Drop,
}
