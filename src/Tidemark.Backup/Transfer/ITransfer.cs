using Tidemark.Backup.Planning;
using Tidemark.Backup.Running;

namespace Tidemark.Backup.Transfer;

/// <summary>How the bytes of a run move: the part of a run that a plan cannot say in commands.</summary>
internal interface ITransfer : IAsyncDisposable
{
    /// <summary>Push: begins to serve the targets.</summary>
    Task ServeAsync(PlanStep.Serve step, CancellationToken cancellationToken);

    /// <summary>Moves everything. When it returns, every chunk of every disk is decided and the jobs did not
    /// fail.</summary>
    Task RunAsync(JobWatcher jobs, CancellationToken cancellationToken);

    /// <summary>Lets go of the hypervisor: no reader of ours is left when the run is undone.</summary>
    Task LetGoAsync();
}
