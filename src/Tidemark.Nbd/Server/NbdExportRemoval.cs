namespace Tidemark.Nbd.Server;

/// <summary>What becomes of an export's clients when it is removed: QEMU's <c>BlockExportRemoveMode</c>.</summary>
public enum NbdExportRemoval
{
    /// <summary>The removal is refused while a client is connected.</summary>
    Safe,

    /// <summary>Clients are cut off; their requests under way still finish on the disk.</summary>
    Hard,
}
