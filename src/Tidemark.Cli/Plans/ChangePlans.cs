using System.CommandLine;
using Tidemark.Backup.Actions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Rules;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Plans;

/// <summary>The plans for what else changes a chain: <c>commit</c>, <c>copy</c>, <c>stream</c>,
/// <c>snapshot</c>.</summary>
internal static class ChangePlans
{
    /// <summary><c>plan commit</c> (R3): the transaction when the job has ended. The commit is active when the top is
    /// the chain's.</summary>
    public static Command Commit(CommandConsole console)
    {
        var command = new Command("commit", "The bitmaps that a commit moves to its base.");
        var options = new ChainOptions(command, console);
        var top = command.AddRequired("--top", "NODE", "The topmost layer that is committed.");
        var under = command.AddRequired("--base", "NODE", "The layer that gets the data.");
        command.SetAction(parsed => Print(
            console,
            options,
            parsed,
            (_, chain) => BitmapChain.Commit(chain, parsed.GetRequiredValue(top), parsed.GetRequiredValue(under))));
        return command;
    }

    /// <summary><c>plan copy</c> (R3): the transaction when the mirror is about to take the disk's place.</summary>
    public static Command Copy(CommandConsole console)
    {
        var command = new Command("copy", "The bitmaps that a copy takes along.");
        var options = new ChainOptions(command, console);
        var mirror = command.AddRequired("--mirror", "NODE", "The node that the disk is copied to.");
        var shallow = new Option<bool>("--shallow") { Description = "Only the active layer is copied." };
        command.Add(shallow);
        command.SetAction(parsed => Print(
            console,
            options,
            parsed,
            (graph, chain) => BitmapChain.Copy(
                chain, options.NodeOf(graph, parsed.GetRequiredValue(mirror)), parsed.GetValue(shallow))));
        return command;
    }

    /// <summary><c>plan stream</c> (R3): the transaction when the job has ended.</summary>
    public static Command Stream(CommandConsole console)
    {
        var command = new Command("stream", "The bitmaps that a stream moves up to its top.");
        var options = new ChainOptions(command, console);
        var top = command.AddRequired("--top", "NODE", "The layer that gets the data.");
        var under = new Option<string?>("--base")
        {
            Description = "The layer that stays below it. Default: none does.",
            HelpName = "NODE",
        };
        command.Add(under);
        command.SetAction(parsed => Print(
            console,
            options,
            parsed,
            (_, chain) => BitmapChain.Stream(chain, parsed.GetRequiredValue(top), parsed.GetValue(under))));
        return command;
    }

    /// <summary><c>plan snapshot</c> (R5): the transaction that puts the overlay on top.</summary>
    public static Command Snapshot(CommandConsole console)
    {
        var command = new Command("snapshot", "The bitmaps that an overlay continues, and the snapshot.");
        var options = new ChainOptions(command, console);
        var overlay = command.AddRequired("--overlay", "NODE", "The node that becomes the active layer.");
        command.SetAction(parsed => Print(
            console,
            options,
            parsed,
            (_, chain) => BitmapChain.Snapshot(chain, parsed.GetRequiredValue(overlay))));
        return command;
    }

    private static int Print(
        CommandConsole console,
        ChainOptions options,
        ParseResult parsed,
        Func<GraphSnapshot, NodeChain, IReadOnlyList<TransactionAction>> plan)
    {
        var graph = options.Graph(parsed);
        var chain = options.Chain(parsed, graph);
        try
        {
            ActionOutput.Write(console, plan(graph, chain));
        }
        catch (ArgumentException exception)
        {
            throw new UsageException(exception.Message);
        }

        return ExitCode.Success;
    }
}
