namespace Tidemark.Backup.Definitions;

/// <summary>A disk that a virtual machine has.</summary>
/// <param name="Name">Its target, for example <c>vda</c>.</param>
public sealed record DomainDisk(string Name)
{
    /// <summary>The active layer's path; empty when there is no medium, or when it has no path.</summary>
    public string Path { get; init; } = "";

    /// <summary>The active layer's format: <c>qcow2</c>, <c>raw</c>…</summary>
    public string Format { get; init; } = "qcow2";

    /// <summary>What the active layer lies on.</summary>
    public ImageKind Kind { get; init; } = ImageKind.File;

    /// <summary>Whether there is a medium.</summary>
    public bool HasMedium { get; init; } = true;

    /// <summary>Whether the guest cannot write.</summary>
    public bool IsReadOnly { get; init; }

    /// <summary>The hypervisor's node for the active layer; null: the node called like the disk.</summary>
    public string? NodeName { get; init; }
}
