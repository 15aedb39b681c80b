using System.Net.Sockets;
using Tidemark.Backup.Definitions;
using Tidemark.Blocks.Nodes;
using Tidemark.Qmp;
using Tidemark.Repository;

namespace Tidemark.Cli;

/// <summary>Turns a failure into the one line that a user reads.</summary>
internal static class ErrorText
{
    /// <summary>One line: what, where, what to do. An exception that
    /// nobody foresaw is named as the defect that it is.</summary>
    public static string Describe(Exception exception) => OneLine(exception switch
    {
        AggregateException { InnerExceptions.Count: 1 } aggregate => Describe(aggregate.InnerExceptions[0]),
        QmpException { ErrorClass: QmpException.MonitorClosed or QmpException.ProtocolError } or CliException
            or BlockException or BackupException or RepositoryException => exception.Message,
        QmpException => $"the hypervisor refused: {exception.Message}",
        UnauthorizedAccessException or IOException or SocketException or TimeoutException => exception.Message,
        OperationCanceledException => "stopped",
        _ => $"internal error, please report it: {exception.GetType().Name}: {exception.Message}"
            + $" (set {Terminal.CommandConsole.DebugVariable}=1 to see where)",
    });

    private static string OneLine(string text) =>
        string.Join("; ", text.Split(
            ['\n', '\r'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
}
