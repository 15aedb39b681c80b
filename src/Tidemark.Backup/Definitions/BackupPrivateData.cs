namespace Tidemark.Backup.Definitions;

/// <summary>What the status XML keeps besides: the element <c>privateData</c>.</summary>
/// <param name="TlsKeyAlias">The hypervisor's object that holds the TLS key's passphrase, or null.</param>
/// <param name="TlsAlias">The hypervisor's object that holds the TLS certificates, or null.</param>
public sealed record BackupPrivateData(string? TlsKeyAlias, string? TlsAlias);
