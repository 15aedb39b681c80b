namespace Tidemark.Images.Bitmaps;

/// <summary>One step of <c>image bitmap</c>.</summary>
/// <param name="Kind">What is done.</param>
/// <param name="Source">The bitmap that is merged; null for the others.</param>
public sealed record BitmapAction(BitmapActionKind Kind, string? Source = null);
