namespace Tidemark.Backup.Checkpoints;

/// <summary>One bitmap, as it really stands.</summary>
/// <param name="Disk">The disk's name.</param>
/// <param name="Bitmap">The bitmap's name.</param>
/// <param name="Standing">How it stands.</param>
/// <param name="Reason">Why it is not valid; null when it is.</param>
/// <param name="Nodes">The layers that have it, top first.</param>
/// <param name="Bytes">The dirty bytes over all layers, at most: layers may name the same ones.</param>
/// <param name="Granularity">Bytes per bit; zero when no layer has it.</param>
public sealed record ReviewedBitmap(
    string Disk,
    string Bitmap,
    BitmapStanding Standing,
    string? Reason,
    IReadOnlyList<string> Nodes,
    long Bytes,
    long Granularity);
