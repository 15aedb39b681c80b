namespace Tidemark.Qcow2;

/// <summary>A persistent bitmap as the image describes it.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Granularity">Bytes per bit; zero when the image says something impossible.</param>
/// <param name="IsInUse">Whether it was not stored after the last write: it is not in step with the disk.</param>
/// <param name="IsAuto">Whether it records from the first write on.</param>
/// <param name="HasExtraData">Whether it has extra data, which this program keeps and does not know.</param>
/// <param name="Problem">What about it contradicts the format, so that QEMU refuses the image; null when nothing
/// does.</param>
public sealed record StoredBitmapInfo(
    string Name, long Granularity, bool IsInUse, bool IsAuto, bool HasExtraData, string? Problem);
