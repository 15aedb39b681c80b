namespace Tidemark.Backup.Definitions;

/// <summary>The cipher of an encrypted image: the element <c>cipher</c>.</summary>
/// <param name="Name">For example <c>aes</c>.</param>
/// <param name="Size">The key's size in bits.</param>
/// <param name="Mode">For example <c>cbc</c>, or null.</param>
/// <param name="Hash">For example <c>sha256</c>, or null.</param>
public sealed record EncryptionCipher(string Name, int Size, string? Mode, string? Hash);
