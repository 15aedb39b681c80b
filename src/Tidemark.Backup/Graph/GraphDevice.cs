namespace Tidemark.Backup.Graph;

/// <summary>A guest device with a medium (QAPI <c>BlockInfo</c> with <c>inserted</c>).</summary>
/// <param name="Device">The device's id; often empty.</param>
/// <param name="QomPath">The device's path in the machine; null when no guest device is attached.</param>
/// <param name="NodeName">The node it uses, which may be a job's filter.</param>
/// <param name="IsReadOnly">Whether the guest cannot write.</param>
public sealed record GraphDevice(string Device, string? QomPath, string NodeName, bool IsReadOnly);
