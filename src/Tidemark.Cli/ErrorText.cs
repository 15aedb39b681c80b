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

    /// <summary>The lines of a failure: <see cref="Describe"/>, and what could not be taken back after it.</summary>
    public static IEnumerable<string> Lines(Exception exception)
    {
        var first = Describe(exception);
        return exception is BackupException { UndoErrors: var undo }
            ? undo.Select(OneLine).Where(error => !first.Contains(error, StringComparison.Ordinal))
                .Select(error => $"not taken back: {error}").Prepend(first)
            : [first];
    }

    private static string OneLine(string text) =>
        string.Join("; ", text.Split(
            ['\n', '\r'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
}
