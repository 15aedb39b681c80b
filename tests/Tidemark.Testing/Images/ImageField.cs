namespace Tidemark.Testing.Images;

/// <summary>A field of an image: big endian, at this place.</summary>
/// <param name="Offset">Where, in bytes from the start of the file.</param>
/// <param name="Size">1, 2, 4 or 8 bytes; for <see cref="ImageFieldKind.Bytes"/> any.</param>
/// <param name="Kind">What it means.</param>
/// <param name="Name">What it is called, for messages.</param>
public sealed record ImageField(int Offset, int Size, ImageFieldKind Kind, string Name);
