using System.Text.Json.Nodes;
using Tidemark.Backup.Actions;
using Tidemark.Qmp;

namespace Tidemark.Backup.Planning;

/// <summary>One step of a plan, with what takes its effect back.</summary>
/// <param name="Purpose">What it is for, for messages: <c>open the scratch of disk 'vda'</c>.</param>
/// <param name="Undo">What takes it back, in the order of the effects; undone last to first.</param>
public abstract record PlanStep(string Purpose, IReadOnlyList<UndoAction> Undo)
{
    /// <summary>Makes a directory on this machine that only its owner may enter.</summary>
    public sealed record MakeDirectory(string Purpose, string Path)
        : PlanStep(Purpose, [new UndoAction.LocalDirectory(Path)]);

    /// <summary>Checks, before anything is done, that the hypervisor's scratch files can be seen from here, and that
    /// there is room for them.</summary>
    public sealed record CheckScratch(string Purpose, IReadOnlyList<string> Directories, long FreeBytes)
        : PlanStep(Purpose, []);

    /// <summary>
    /// Creates an empty file on this machine that only its owner may read or write. A file that exists is refused, so
    /// that nothing of anybody is overwritten.
    /// </summary>
    /// <param name="Purpose">What it is for.</param>
    /// <param name="Path">Its full path.</param>
    /// <param name="LikePath">The image whose owner gets it, where this process may give files away; empty: nobody
    /// else.</param>
    /// <param name="Undo">What takes it back.</param>
    public sealed record CreateFile(string Purpose, string Path, string LikePath, IReadOnlyList<UndoAction> Undo)
        : PlanStep(Purpose, Undo);

    /// <summary>Sends one command.</summary>
    public sealed record Command(string Purpose, QmpCommand Qmp, IReadOnlyList<UndoAction> Undo)
        : PlanStep(Purpose, Undo);

    /// <summary>Sends a command that starts a job, waits for its success, dismisses it.</summary>
    public sealed record Job(string Purpose, QmpCommand Qmp, string JobId, IReadOnlyList<UndoAction> Undo)
        : PlanStep(Purpose, Undo);

    /// <summary>
    /// Takes the name of an open scratch file away, so that the kernel frees it however hypervisor and Tidemark end.
    /// </summary>
    public sealed record Unlink(string Purpose, string Path) : PlanStep(Purpose, []);

    /// <summary>Push: our NBD server begins to offer one target a disk.</summary>
    public sealed record Serve(string Purpose, NbdAddress Address, IReadOnlyList<string> Exports,
        IReadOnlyList<UndoAction> Undo)
        : PlanStep(Purpose, Undo);

    /// <summary>The point in time: one transaction for all disks.</summary>
    public sealed record Transaction(
        string Purpose, IReadOnlyList<TransactionAction> Actions, IReadOnlyList<UndoAction> Undo) : PlanStep(Purpose,
            Undo)
    {
        /// <summary>The command.</summary>
        public QmpCommand ToCommand()
        {
            JsonArray actions = [];
            foreach (var action in Actions)
            {
                actions.Add((JsonNode)action.ToJson());
            }

            return new QmpCommand("transaction", new JsonObject { ["actions"] = actions });
        }
    }

    /// <summary>The bytes move: pull reads every export, push waits for every job.</summary>
    public sealed record Transfer(string Purpose) : PlanStep(Purpose, []);
}
