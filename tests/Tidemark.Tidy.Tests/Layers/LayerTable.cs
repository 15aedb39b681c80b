namespace Tidemark.Tidy.Tests.Layers;

/// <summary>
/// Which project may use which: the arrows of docs/ARCHITECTURE.md. A project that is not here may not exist.
/// </summary>
/// <remarks>
/// The two lines that matter most: <c>Tidemark.Backup</c> never knows the embedded engine, it drives every hypervisor
/// over a monitor; and <c>Tidemark.Blocks</c> and <c>Tidemark.Qmp</c> know nothing, not even of each other.
/// </remarks>
internal static class LayerTable
{
    public static IReadOnlyDictionary<string, string[]> Allowed { get; } = new Dictionary<string, string[]>
    {
        ["Tidemark.Blocks"] = [],
        ["Tidemark.Qmp"] = [],
        ["Tidemark.Qcow2"] = ["Tidemark.Blocks"],
        ["Tidemark.Nbd"] = ["Tidemark.Blocks"],
        ["Tidemark.Images"] = ["Tidemark.Blocks", "Tidemark.Qcow2", "Tidemark.Nbd"],
        ["Tidemark.Repository"] = ["Tidemark.Blocks"],
        ["Tidemark.Engine"] = ["Tidemark.Blocks", "Tidemark.Qcow2", "Tidemark.Nbd", "Tidemark.Qmp"],
        ["Tidemark.Backup"] =
            ["Tidemark.Blocks", "Tidemark.Qcow2", "Tidemark.Nbd", "Tidemark.Qmp", "Tidemark.Repository"],
        ["Tidemark.Cli"] =
        [
            "Tidemark.Blocks", "Tidemark.Qcow2", "Tidemark.Nbd", "Tidemark.Qmp", "Tidemark.Repository",
            "Tidemark.Engine", "Tidemark.Backup", "Tidemark.Images",
        ],
    };
}
