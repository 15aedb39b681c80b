namespace Tidemark.Interop.Tests.Hypervisors;

/// <summary>The hypervisors that one product must serve alike.</summary>
public enum HypervisorKind
{
    /// <summary>QEMU's storage daemon.</summary>
    QemuStorageDaemon,

    /// <summary><c>tidemark storage-daemon</c>.</summary>
    EmbeddedEngine,

    /// <summary>A whole emulated machine with virtio disks.</summary>
    QemuSystem,
}
