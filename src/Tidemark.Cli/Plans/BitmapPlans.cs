using System.CommandLine;
using System.Globalization;
using System.Text;
using Tidemark.Backup.Actions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Rules;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Plans;

/// <summary>The plans that concern a checkpoint's bitmaps: <c>backup</c>, <c>checkpoint-delete</c>, <c>validate</c>,
/// <c>bitmaps</c>.</summary>
internal static class BitmapPlans
{
    /// <summary><c>plan backup</c>: the temporary bitmap of an increment (R2).</summary>
    public static Command Backup(CommandConsole console)
    {
        var command = new Command("backup", "The temporary bitmap of an incremental backup.");
        var options = new ChainOptions(command, console);
        var checkpoint = command.AddRequired("--checkpoint", "NAME", "The checkpoint since which.");
        var target = command.AddRequired("--target", "NAME", "The node that gets the temporary bitmap.");
        var bitmap = command.AddRequired("--bitmap", "NAME", "The temporary bitmap's name.");
        command.SetAction(parsed =>
        {
            var chain = options.Chain(parsed, options.Graph(parsed));
            var name = parsed.GetRequiredValue(checkpoint);
            if (BitmapChain.Validate(chain, name) is { IsValid: false } verdict)
            {
                console.WriteWarning($"no increment is possible: {verdict.Reason}");
            }

            ActionOutput.Write(console, BitmapChain.Merge(
                chain, name, parsed.GetRequiredValue(target), parsed.GetRequiredValue(bitmap)));
            return ExitCode.Success;
        });
        return command;
    }

    /// <summary><c>plan checkpoint-delete</c>: the bitmaps to remove, and the nodes to open for writing (R4).</summary>
    public static Command CheckpointDelete(CommandConsole console)
    {
        var command = new Command("checkpoint-delete", "The removal of a checkpoint's bitmaps.");
        var options = new ChainOptions(command, console);
        var checkpoint = command.AddRequired("--checkpoint", "NAME", "The checkpoint.");
        command.SetAction(parsed =>
        {
            var chain = options.Chain(parsed, options.Graph(parsed));
            var name = parsed.GetRequiredValue(checkpoint);
            var found = BitmapChain.Delete(chain, name);
            if (found.Count == 0)
            {
                throw new CliException($"bitmap '{name}' not found in backing chain of '{chain.Top.Name}'");
            }

            ActionOutput.Write(console, [.. found.Select(bitmap => new BitmapRemove(bitmap.Node, bitmap.Name))]);
            if (BitmapChain.Reopened(chain, name) is { Count: > 0 } nodes)
            {
                console.Output.Write($"reopen nodes:\n{string.Concat(nodes.Select(node => node + "\n"))}");
            }

            return ExitCode.Success;
        });
        return command;
    }

    /// <summary><c>plan validate</c>: whether an increment since a checkpoint is possible (R1).</summary>
    public static Command Validate(CommandConsole console)
    {
        var command = new Command("validate", "Whether a checkpoint's bitmaps can be trusted.");
        var options = new ChainOptions(command, console);
        var checkpoint = command.AddRequired("--checkpoint", "NAME", "The checkpoint.");
        command.SetAction(parsed =>
        {
            var verdict = BitmapChain.Validate(
                options.Chain(parsed, options.Graph(parsed)), parsed.GetRequiredValue(checkpoint));
            console.Output.Write(verdict.IsValid ? "valid\n" : $"invalid: {verdict.Reason}\n");
            return verdict.IsValid ? ExitCode.Success : ExitCode.Failure;
        });
        return command;
    }

    /// <summary><c>plan bitmaps</c>: what the chain's nodes hold, as libvirt lists it.</summary>
    public static Command Bitmaps(CommandConsole console)
    {
        var command = new Command("bitmaps", "The bitmaps of the chain's nodes.");
        var options = new ChainOptions(command, console);
        command.SetAction(parsed =>
        {
            var graph = options.Graph(parsed);
            var chain = options.Chain(parsed, graph);
            foreach (var layer in chain.Layers.Where(layer => graph.Find(layer.Name) is not null))
            {
                console.Output.Write(Describe(layer));
            }

            return ExitCode.Success;
        });
        return command;
    }

    private static string Describe(GraphNode node)
    {
        var text = new StringBuilder();
        var culture = CultureInfo.InvariantCulture;
        text.Append(culture, $"{node.Name}:\n");
        if (node.Compat == "0.10")
        {
            text.Append(" qcow2 v2\n");
        }

        foreach (var bitmap in node.Bitmaps)
        {
            // At least eight bytes wide, as libvirt counts.
            text.Append(' ', Math.Max(0, 8 - Encoding.UTF8.GetByteCount(bitmap.Name)));
            text.Append(culture, $" {bitmap.Name}: record:{Digit(bitmap.IsRecording)} busy:{Digit(bitmap.IsBusy)} ");
            text.Append(culture, $"persist:{Digit(bitmap.IsPersistent)} inconsist:{Digit(bitmap.IsInconsistent)} ");
            text.Append(culture, $"gran:{bitmap.Granularity} dirty:{bitmap.Count}\n");
        }

        if (node.Snapshots.Count > 0)
        {
            text.Append(" internal snapshots:");
            foreach (var snapshot in node.Snapshots.OrderBy(
                snapshot => Encoding.UTF8.GetBytes(snapshot.Name),
                Comparer<byte[]>.Create(static (left, right) => left.AsSpan().SequenceCompareTo(right))))
            {
                text.Append(culture, $" '{snapshot.Name}'{(snapshot.VmStateSize > 0 ? "(*)" : "")}");
            }

            text.Append('\n');
        }

        return text.ToString();
    }

    private static int Digit(bool flag) => flag ? 1 : 0;
}
