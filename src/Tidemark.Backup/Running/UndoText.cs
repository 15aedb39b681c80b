using Tidemark.Backup.Planning;

namespace Tidemark.Backup.Running;

/// <summary>What an undo action takes back, in a user's words.</summary>
internal static class UndoText
{
    /// <summary>Names the thing: <c>node 'a'</c>.</summary>
    internal static string Describe(UndoAction action) => action switch
    {
        UndoAction.Job job => $"job '{job.JobId}'",
        UndoAction.Export export => $"export '{export.Id}'",
        UndoAction.NbdServer => "the NBD server",
        UndoAction.Node node => $"node '{node.Name}'",
        UndoAction.TemporaryBitmap bitmap => $"bitmap '{bitmap.Name}' of node '{bitmap.NodeName}'",
        UndoAction.CheckpointBitmap bitmap => $"bitmap '{bitmap.Name}' of node '{bitmap.NodeName}'",
        UndoAction.ServerObject held => $"object '{held.Id}'",
        UndoAction.ServerSocket socket => $"socket '{socket.Path}'",
        UndoAction.LocalFile file => $"file '{file.Path}'",
        UndoAction.CheckpointFile file => $"file '{file.Path}'",
        UndoAction.ScratchFile file => $"file '{file.Path}'",
        UndoAction.TargetFile file => $"file '{file.Path}'",
        UndoAction.LocalDirectory directory => $"directory '{directory.Path}'",
        _ => throw new ArgumentException("an unknown undo action", nameof(action)),
    };
}
