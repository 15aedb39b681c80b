namespace Tidemark.Images.Bitmaps;

/// <summary>What is done to a bitmap of an image.</summary>
public enum BitmapActionKind
{
    /// <summary>It is created, empty and recording.</summary>
    Add,

    /// <summary>It is taken out of the image, whatever state it is in.</summary>
    Remove,

    /// <summary>Its marks are taken away.</summary>
    Clear,

    /// <summary>It records from now on.</summary>
    Enable,

    /// <summary>It records no more.</summary>
    Disable,

    /// <summary>Another bitmap's marks are added.</summary>
    Merge,
}
