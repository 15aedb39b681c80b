using System.CommandLine;
using Tidemark.Backup.Checkpoints;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Domains;
using Tidemark.Cli.Commands;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Domains;

/// <summary><c>checkpoint-list</c>: the checkpoints as they really stand, and the bitmaps that are none's.</summary>
internal static class CheckpointListVerb
{
    /// <summary>Adds the verb.</summary>
    public static void AddTo(Command domain, DomainContext context)
    {
        var command = new Command("checkpoint-list", "List the checkpoints, and what their bitmaps are worth.");
        var tree = command.AddFlag("--tree", "As a tree.");
        var parent = command.AddFlag("--parent", "With the parent of each.");
        var name = command.AddFlag("--name", "Only the names.");
        var roots = command.AddFlag("--roots", "Only those without a parent.");
        var leaves = command.AddFlag("--leaves", "Only those that none follows.");
        var noLeaves = command.AddFlag("--no-leaves", "Only those that another one follows.");
        var topological = command.AddFlag("--topological", "Parents before their children.");
        var descendants = command.AddFlag("--descendants", "With --from: all that follow it, not only its children.");
        var from = command.AddText("--from", "NAME", "Only what follows this one.");
        var json = JsonOption.AddTo(command);
        command.SetAction((parsed, token) =>
        {
            if (parsed.GetValue(descendants) && parsed.GetValue(from) is null)
            {
                throw new UsageException("--descendants needs --from NAME");
            }

            if (parsed.GetValue(tree) && (parsed.GetValue(parent) || parsed.GetValue(name) || parsed.GetValue(json)))
            {
                throw new UsageException("--tree does not go with --parent, --name and --json");
            }

            return context.RunAsync(parsed, async (options, source) =>
            {
                var (all, review) = await new CheckpointService(options, source).ListAsync(token);
                var chosen = Choose(
                    all,
                    parsed.GetValue(from),
                    parsed.GetValue(descendants) || parsed.GetValue(tree),
                    parsed.GetValue(topological)).Where(one =>
                        (!parsed.GetValue(roots) || all.ParentOf(one) is null)
                        && (!parsed.GetValue(leaves) || !all.ChildrenOf(one.Name!).Any())
                        && (!parsed.GetValue(noLeaves) || all.ChildrenOf(one.Name!).Any())).ToList();
                if (parsed.GetValue(json))
                {
                    JsonOutput.Write(
                        context.Console, writer => CheckpointText.WriteListJson(writer, all, review, chosen));
                }
                else if (parsed.GetValue(tree))
                {
                    CheckpointText.WriteTree(context.Console.Output, all, chosen);
                }
                else if (parsed.GetValue(name))
                {
                    chosen.ForEach(one => context.Console.Output.WriteLine(one.Name));
                }
                else
                {
                    CheckpointText.WriteList(context.Console, all, review, chosen, parsed.GetValue(parent));
                }

                return ExitCode.Success;
            }, token);
        });
        domain.Add(command);
    }

    private static IReadOnlyList<CheckpointDefinition> Choose(
        CheckpointTree tree, string? from, bool descendants, bool topological)
    {
        if (from is null)
        {
            return topological ? tree.Topological : tree.All;
        }

        var root = tree.Get(from).Name!;
        return descendants ? tree.DescendantsOf(root) : [.. tree.ChildrenOf(root)];
    }
}
