namespace Tidemark.Images.Mapping;

/// <summary>What <c>map</c> says of a run.</summary>
[Flags]
public enum MapFlags
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>An image of the chain has it allocated, be it as zeroes.</summary>
    Present = 1,

    /// <summary>It reads as zeroes.</summary>
    Zero = 2,

    /// <summary>Bytes are stored for it.</summary>
    Data = 4,

    /// <summary>They are compressed.</summary>
    Compressed = 8,

    /// <summary>They lie at a known place of a file.</summary>
    Offset = 16,
}
