namespace Tidemark.Qcow2.Bitmaps;

/// <summary>The flags of a bitmap directory entry (docs/interop/qcow2, "Bitmap directory").</summary>
[Flags]
internal enum BitmapFlags : uint
{
    None = 0,

    /// <summary>Not in step with the disk: whoever set it did not get to store the bitmap.</summary>
    InUse = 1,

    /// <summary>The bitmap records from the first write on.</summary>
    Auto = 2,

    /// <summary>Extra data may be ignored, if it is kept.</summary>
    ExtraDataCompatible = 4,

    All = InUse | Auto | ExtraDataCompatible,
}
