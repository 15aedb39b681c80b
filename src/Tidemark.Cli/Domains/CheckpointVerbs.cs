using System.CommandLine;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Domains;
using Tidemark.Backup.Xml;

namespace Tidemark.Cli.Domains;

/// <summary><c>checkpoint-create</c>, <c>-create-as</c>, <c>-info</c>, <c>-dumpxml</c>, <c>-parent</c>,
/// <c>-delete</c>.</summary>
internal static class CheckpointVerbs
{
    private const string CheckpointSpec = "DISK[,checkpoint=bitmap|no][,bitmap=NAME]";
    private const string GranularityText = "Bytes per bit: a power of two. Default: 64K.";

    /// <summary>Adds the verbs.</summary>
    public static void AddTo(Command domain, DomainContext context)
    {
        domain.Add(Create(context));
        domain.Add(CreateAs(context));
        domain.Add(Info(context));
        domain.Add(Dump(context));
        domain.Add(Parent(context));
        domain.Add(Delete(context));
    }

    private static Command Create(DomainContext context)
    {
        var command = new Command("checkpoint-create", "Make a checkpoint from its XML, or redefine one.");
        var file = command.AddEither(
            "XML",
            "--xmlfile",
            "FILE",
            "The checkpoint (libvirt's domaincheckpoint); '-' is standard input. Default: all disks.");
        var redefine = command.AddFlag("--redefine", "Only write the definition: the bitmaps exist already.");
        var validate = command.AddFlag(
            "--redefine-validate", "Refuse a redefinition whose bitmaps cannot be trusted.");
        var granularity = command.AddText("--granularity", "SIZE", GranularityText);
        command.SetAction((parsed, token) =>
        {
            var isRedefinition = parsed.GetValue(redefine);
            if (parsed.GetValue(validate) && !isRedefinition)
            {
                throw new UsageException("--redefine-validate needs --redefine");
            }

            var size = BackupBeginVerb.ReadSize("--granularity", parsed.GetValue(granularity));
            if (isRedefinition && size is not null)
            {
                throw new UsageException(
                    "--granularity is for a new checkpoint: the bitmaps of this one exist already");
            }

            var definition = file(parsed) is { } path
                ? DomainContext.ReadXml(path, CheckpointXml.Parse)
                : new CheckpointDefinition();
            return context.RunAsync(parsed, async (options, source) =>
            {
                var service = new CheckpointService(options, source);
                var made = isRedefinition
                    ? await service.RedefineAsync(definition, parsed.GetValue(validate), token)
                    : await service.CreateAsync(definition, size, token);
                context.Console.Output.WriteLine($"Domain checkpoint {made.Name} created");
                return ExitCode.Success;
            }, token);
        });
        return command;
    }

    private static Command CreateAs(DomainContext context)
    {
        var command = new Command("checkpoint-create-as", "Make a checkpoint from options.");
        var name = command.AddEither("NAME", "--name", "NAME", "Its name. Default: the seconds since 1970.");
        var description = command.AddText("--description", "TEXT", "What is to be said about it.");
        var disks = command.AddTexts(
            "--diskspec", CheckpointSpec, "A disk that takes part, or not; may be repeated. Default: all disks.");
        var print = command.AddFlag("--print-xml", "Print the XML and make nothing.");
        var granularity = command.AddText("--granularity", "SIZE", GranularityText);
        command.SetAction((parsed, token) =>
        {
            var specs = (parsed.GetValue(disks) ?? []).Select(CheckpointDiskSpec).ToList();
            var definition = new CheckpointDefinition
            {
                Name = name(parsed),
                Description = parsed.GetValue(description),
                Disks = specs.Count > 0 ? specs : null,
            };
            if (parsed.GetValue(print))
            {
                context.Console.Output.Write(CheckpointXml.Format(definition));
                return Task.FromResult(ExitCode.Success);
            }

            var size = BackupBeginVerb.ReadSize("--granularity", parsed.GetValue(granularity));
            return context.RunAsync(parsed, async (options, source) =>
            {
                var made = await new CheckpointService(options, source).CreateAsync(definition, size, token);
                context.Console.Output.WriteLine($"Domain checkpoint {made.Name} created");
                return ExitCode.Success;
            }, token);
        });
        return command;
    }

    private static Command Info(DomainContext context)
    {
        var command = new Command("checkpoint-info", "Say what a checkpoint is, and what it is worth.");
        var name = Checkpoint(command);
        var json = Commands.JsonOption.AddTo(command);
        command.SetAction((parsed, token) => context.RunAsync(parsed, async (options, source) =>
        {
            var (tree, review) = await new CheckpointService(options, source).ListAsync(token);
            var checkpoint = tree.Get(name(parsed));
            if (parsed.GetValue(json))
            {
                Terminal.JsonOutput.Write(context.Console, writer =>
                    CheckpointText.WriteJson(writer, tree, review, checkpoint));
            }
            else
            {
                CheckpointText.WriteInfo(
                    context.Console.Output, options.DomainName ?? source.Name, tree, review, checkpoint);
            }

            return ExitCode.Success;
        }, token));
        return command;
    }

    private static Command Dump(DomainContext context)
    {
        var command = new Command("checkpoint-dumpxml", "Print a checkpoint's definition.");
        var name = Checkpoint(command);
        var size = command.AddFlag("--size", "With the bytes that were written since.");
        var noDomain = command.AddFlag("--no-domain", "Without the machine's own definition.");
        command.SetAction((parsed, token) => context.RunAsync(parsed, async (options, source) =>
        {
            var service = new CheckpointService(options, source);
            var definition = parsed.GetValue(size)
                ? await service.MeasureAsync(name(parsed), token)
                : (await service.ListAsync(token)).Tree.Get(name(parsed));
            context.Console.Output.Write(CheckpointXml.Format(definition, !parsed.GetValue(noDomain)));
            return ExitCode.Success;
        }, token));
        return command;
    }

    private static Command Parent(DomainContext context)
    {
        var command = new Command("checkpoint-parent", "Print the name of a checkpoint's parent.");
        var name = Checkpoint(command);
        command.SetAction((parsed, token) => context.RunAsync(parsed, async (options, source) =>
        {
            var (tree, _) = await new CheckpointService(options, source).ListAsync(token);
            var checkpoint = tree.Get(name(parsed));
            context.Console.Output.WriteLine(tree.ParentOf(checkpoint)?.Name
                ?? throw new CliException($"checkpoint '{checkpoint.Name}' has no parent"));
            return ExitCode.Success;
        }, token));
        return command;
    }

    private static Command Delete(DomainContext context)
    {
        var command = new Command("checkpoint-delete", "Delete a checkpoint, its bitmaps and its definition.");
        var name = Checkpoint(command);
        var children = command.AddFlag("--children", "And all that follow it.");
        var onlyChildren = command.AddFlag("--children-only", "Not itself, only those.");
        var metadata = command.AddFlag("--metadata", "Only the definition: the bitmaps stay.");
        command.Validators.Add(result =>
        {
            if (result.GetValue(children) && result.GetValue(onlyChildren))
            {
                result.AddError("--children and --children-only are two choices");
            }
        });
        command.SetAction((parsed, token) => context.RunAsync(parsed, async (options, source) =>
        {
            var deleted = await new CheckpointService(options, source).DeleteAsync(
                name(parsed),
                parsed.GetValue(children),
                parsed.GetValue(onlyChildren),
                parsed.GetValue(metadata),
                token);
            foreach (var one in deleted)
            {
                context.Console.Output.WriteLine($"Domain checkpoint {one} deleted");
            }

            return ExitCode.Success;
        }, token));
        return command;
    }

    private static Func<ParseResult, string> Checkpoint(Command command) =>
        command.AddRequiredEither("NAME", "--checkpointname", "NAME", "The checkpoint.");

    private static CheckpointDisk CheckpointDiskSpec(string text) => VerbOptions.ReadDiskSpec(
        text,
        CheckpointSpec,
        name => new CheckpointDisk(name),
        (disk, part) => part switch
        {
            "checkpoint=bitmap" => disk with { HasBitmap = true },
            "checkpoint=no" => disk with { HasBitmap = false },
            _ when part.StartsWith("bitmap=", StringComparison.Ordinal) =>
                disk with { Bitmap = part["bitmap=".Length..] },
            _ => null,
        });
}
