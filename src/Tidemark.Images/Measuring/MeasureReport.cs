using Tidemark.Images.Output;

namespace Tidemark.Images.Measuring;

/// <summary>How large a new image will be, in bytes.</summary>
/// <param name="Required">With the data that the source holds.</param>
/// <param name="FullyAllocated">When all of it has been written.</param>
/// <param name="Bitmaps">What the source's bitmaps take besides; null where the format has none.</param>
public sealed record MeasureReport(long Required, long FullyAllocated, long? Bitmaps)
{
    /// <summary>The report for programs.</summary>
    public OutputDict ToDict() => new OutputDict()
        .Add("bitmaps", Bitmaps)
        .Add("required", Required)
        .Add("fully-allocated", FullyAllocated);

    /// <summary>The report for people, qemu-img's lines.</summary>
    public string ToText() => FormattableString.Invariant(
        $"required size: {Required}\nfully allocated size: {FullyAllocated}\n")
        + (Bitmaps is { } bytes ? FormattableString.Invariant($"bitmaps size: {bytes}\n") : "");
}
