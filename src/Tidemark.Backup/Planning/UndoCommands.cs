using System.Text.Json.Nodes;
using Tidemark.Qmp;

namespace Tidemark.Backup.Planning;

/// <summary>The commands that take an effect back at the hypervisor: those that a plan shows are those that are
/// sent.</summary>
internal static class UndoCommands
{
    /// <summary>The commands in their order; none for what concerns only this machine.</summary>
    /// <remarks>Of a job's two the first is for one that still runs, the second for one that has ended; every other
    /// effect has one.</remarks>
    public static IReadOnlyList<QmpCommand> Of(UndoAction undo) => undo switch
    {
        UndoAction.Job job => [Make("job-cancel", ("id", job.JobId)), Make("job-dismiss", ("id", job.JobId))],
        UndoAction.Export export => [Make("block-export-del", ("id", export.Id), ("mode", "hard"))],
        UndoAction.NbdServer => [new QmpCommand("nbd-server-stop", null)],
        UndoAction.Node node => [Make("blockdev-del", ("node-name", node.Name))],
        UndoAction.TemporaryBitmap bitmap => [RemoveBitmap(bitmap.NodeName, bitmap.Name)],
        UndoAction.CheckpointBitmap bitmap => [RemoveBitmap(bitmap.NodeName, bitmap.Name)],
        UndoAction.ServerObject item => [Make("object-del", ("id", item.Id))],
        _ => [],
    };

    private static QmpCommand RemoveBitmap(string node, string name) =>
        Make("block-dirty-bitmap-remove", ("node", node), ("name", name));

    private static QmpCommand Make(string command, params ReadOnlySpan<(string Name, string Value)> arguments)
    {
        JsonObject data = [];
        foreach (var (name, value) in arguments)
        {
            data[name] = value;
        }

        return new QmpCommand(command, data);
    }
}
