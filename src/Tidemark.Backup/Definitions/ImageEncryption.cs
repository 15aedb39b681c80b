namespace Tidemark.Backup.Definitions;

/// <summary>That an image is to be encrypted: the element <c>encryption</c>.</summary>
/// <param name="Format">The format: <c>luks</c>.</param>
/// <param name="Engine">Who encrypts: <c>qemu</c>, or null when nothing was said.</param>
/// <param name="Secret">The secret.</param>
/// <param name="Cipher">The cipher, or null for the hypervisor's choice.</param>
/// <param name="Vector">The initialization vectors, or null for the hypervisor's choice.</param>
public sealed record ImageEncryption(
    string Format, string? Engine, EncryptionSecret Secret, EncryptionCipher? Cipher, EncryptionVector? Vector);
