using Tidemark.Qmp;

namespace Tidemark.Backup.Running;

/// <summary>The hypervisor that is backed up.</summary>
/// <param name="Name">
/// What identifies it from one command to the next, for example <c>qmp:/run/vm.sock</c> or an image's full path: state
/// is kept under this name.
/// </param>
/// <param name="ConnectAsync">Connects a monitor; may be called again when the first one was closed.</param>
public sealed record HypervisorSource(string Name, Func<CancellationToken, Task<IMonitor>> ConnectAsync)
{
    /// <summary>The host of a TCP monitor: NBD then goes over TCP too. Null: the hypervisor runs on this
    /// machine.</summary>
    public string? TcpHost { get; init; }
}
