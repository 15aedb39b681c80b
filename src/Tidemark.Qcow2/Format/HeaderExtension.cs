namespace Tidemark.Qcow2.Format;

/// <summary>One header extension as it stands in the image; unknown ones are kept as they are.</summary>
/// <param name="Type">The extension's type.</param>
/// <param name="Data">Its bytes, without padding.</param>
internal sealed record HeaderExtension(uint Type, byte[] Data)
{
    internal const uint End = 0;
    internal const uint BackingFormat = 0xe2792aca;
    internal const uint FeatureNames = 0x6803f857;
    internal const uint Bitmaps = 0x23852875;
    internal const uint Encryption = 0x0537be77;
    internal const uint ExternalDataFile = 0x44415441;

    /// <summary>Bytes of the extension in the header: type, length, data, padding to 8.</summary>
    internal int PaddedLength => 8 + ((Data.Length + 7) & ~7);
}
