using System.CommandLine;
using Tidemark.Cli.Terminal;
using Tidemark.Engine.Daemon;

namespace Tidemark.Cli.Commands;

/// <summary><c>tidemark storage-daemon</c>: the embedded engine as
/// a process, with qemu-storage-daemon's options.</summary>
/// <remarks>Its arguments never pass our own parser: see
/// <see cref="Application"/>. The tree holds it for the help.</remarks>
internal static class StorageDaemonCommand
{
    /// <summary>The verb.</summary>
    public const string Name = "storage-daemon";

    /// <summary>Builds the verb.</summary>
    public static Command Create() => new(Name, "Run the embedded storage engine, with qemu-storage-daemon's options.");

    /// <summary>Runs the daemon; it handles the signals of the process itself.</summary>
    public static Task<int> RunAsync(string[] arguments, CommandConsole console, CancellationToken cancellationToken) =>
        StorageDaemon.RunAsync(arguments, console.Output, console.Error, cancellationToken);
}
