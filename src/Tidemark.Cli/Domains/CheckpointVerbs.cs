using System.CommandLine;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Domains;
using Tidemark.Backup.Xml;

namespace Tidemark.Cli.Domains;

/// <summary><c>checkpoint-create</c>, <c>-create-as</c>, <c>-info</c>, <c>-dumpxml</c>, <c>-parent</c>,
/// <c>-delete</c>.</summary>
internal static class CheckpointVerbs
{
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
        var file = new Argument<string?>("XML")
        {
            Description = "The checkpoint (libvirt's domaincheckpoint); '-' is standard input. Default: all disks.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var redefine = new Option<bool>("--redefine")
        {
            Description = "Only write the definition: the bitmaps exist already.",
        };
        var validate = new Option<bool>("--redefine-validate")
        {
            Description = "Refuse a redefinition whose bitmaps cannot be trusted.",
        };
        var granularity = Granularity();
        command.Add(file);
        command.Add(redefine);
        command.Add(validate);
        command.Add(granularity);
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

            var definition = parsed.GetValue(file) is { } path
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
        var argument = new Argument<string?>("NAME")
        {
            Description = "Its name. Default: the seconds since 1970.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var option = new Option<string?>("--name") { Description = "The same as NAME.", HelpName = "NAME" };
        var description = new Option<string?>("--description")
        {
            Description = "What is to be said about it.",
            HelpName = "TEXT",
        };
        var disks = new Option<string[]>("--diskspec")
        {
            Description = "A disk that takes part, or not; may be repeated. Default: all disks.",
            HelpName = "DISK[,checkpoint=bitmap|no][,bitmap=NAME]",
        };
        var print = new Option<bool>("--print-xml") { Description = "Print the XML and make nothing." };
        var granularity = Granularity();
        command.Add(argument);
        command.Add(option);
        command.Add(description);
        command.Add(disks);
        command.Add(print);
        command.Add(granularity);
        command.SetAction((parsed, token) =>
        {
            if (parsed.GetValue(argument) is not null && parsed.GetValue(option) is not null)
            {
                throw new UsageException("the name is given twice");
            }

            var specs = (parsed.GetValue(disks) ?? []).Select(CheckpointDiskSpec).ToList();
            var definition = new CheckpointDefinition
            {
                Name = parsed.GetValue(argument) ?? parsed.GetValue(option),
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
        var name = Name(command);
        var json = Commands.JsonOption.AddTo(command);
        command.SetAction((parsed, token) => context.RunAsync(parsed, async (options, source) =>
        {
            var (tree, review) = await new CheckpointService(options, source).ListAsync(token);
            var checkpoint = tree.Get(parsed.GetRequiredValue(name));
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
        var name = Name(command);
        var size = new Option<bool>("--size") { Description = "With the bytes that were written since." };
        var noDomain = new Option<bool>("--no-domain") { Description = "Without the machine's own definition." };
        command.Add(size);
        command.Add(noDomain);
        command.SetAction((parsed, token) => context.RunAsync(parsed, async (options, source) =>
        {
            var service = new CheckpointService(options, source);
            var definition = parsed.GetValue(size)
                ? await service.MeasureAsync(parsed.GetRequiredValue(name), token)
                : (await service.ListAsync(token)).Tree.Get(parsed.GetRequiredValue(name));
            context.Console.Output.Write(CheckpointXml.Format(definition, !parsed.GetValue(noDomain)));
            return ExitCode.Success;
        }, token));
        return command;
    }

    private static Command Parent(DomainContext context)
    {
        var command = new Command("checkpoint-parent", "Print the name of a checkpoint's parent.");
        var name = Name(command);
        command.SetAction((parsed, token) => context.RunAsync(parsed, async (options, source) =>
        {
            var (tree, _) = await new CheckpointService(options, source).ListAsync(token);
            var checkpoint = tree.Get(parsed.GetRequiredValue(name));
            context.Console.Output.WriteLine(tree.ParentOf(checkpoint)?.Name
                ?? throw new CliException($"checkpoint '{checkpoint.Name}' has no parent"));
            return ExitCode.Success;
        }, token));
        return command;
    }

    private static Command Delete(DomainContext context)
    {
        var command = new Command("checkpoint-delete", "Delete a checkpoint, its bitmaps and its definition.");
        var name = Name(command);
        var children = new Option<bool>("--children") { Description = "And all that follow it." };
        var onlyChildren = new Option<bool>("--children-only") { Description = "Not itself, only those." };
        var metadata = new Option<bool>("--metadata") { Description = "Only the definition: the bitmaps stay." };
        command.Add(children);
        command.Add(onlyChildren);
        command.Add(metadata);
        command.SetAction((parsed, token) => context.RunAsync(parsed, async (options, source) =>
        {
            var deleted = await new CheckpointService(options, source).DeleteAsync(
                parsed.GetRequiredValue(name),
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

    private static Argument<string> Name(Command command)
    {
        var argument = new Argument<string>("NAME") { Description = "The checkpoint." };
        command.Add(argument);
        return argument;
    }

    private static Option<string?> Granularity() => new("--granularity")
    {
        Description = "Bytes per bit: a power of two. Default: 64K.",
        HelpName = "SIZE",
    };

    private static CheckpointDisk CheckpointDiskSpec(string text)
    {
        string[] parts = text.Split(',');
        var disk = new CheckpointDisk(parts[0]);
        foreach (var part in parts.Skip(1))
        {
            disk = part switch
            {
                "checkpoint=bitmap" => disk with { HasBitmap = true },
                "checkpoint=no" => disk with { HasBitmap = false },
                _ when part.StartsWith("bitmap=", StringComparison.Ordinal) =>
                    disk with { Bitmap = part["bitmap=".Length..] },
                _ => throw new UsageException(
                    $"--diskspec '{text}': DISK[,checkpoint=bitmap|no][,bitmap=NAME]"),
            };
        }

        return parts[0].Length > 0 ? disk : throw new UsageException($"--diskspec '{text}' names no disk");
    }
}
