namespace Tidemark.Backup.Definitions;

/// <summary>How the initialization vectors of an encrypted image are made: the element <c>ivgen</c>.</summary>
/// <param name="Name">For example <c>plain64</c>.</param>
/// <param name="Hash">For example <c>sha256</c>, or null.</param>
public sealed record EncryptionVector(string Name, string? Hash);
