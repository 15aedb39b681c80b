namespace Tidemark.Backup.Definitions;

/// <summary>A secret of an encrypted image: the element <c>secret</c>. Exactly one of the two names is
/// given.</summary>
/// <param name="Type">Its type: <c>passphrase</c>.</param>
/// <param name="Uuid">The secret's UUID, or null.</param>
/// <param name="Usage">What the secret is for, or null.</param>
public sealed record EncryptionSecret(string Type, string? Uuid, string? Usage);
