using System.CommandLine;
using System.Globalization;
using Tidemark.Backup.Domains;
using Tidemark.Backup.Running;
using Tidemark.Cli.Commands;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Domains;

/// <summary><c>domblklist</c>, <c>snapshot-create-as</c>, <c>blockcommit</c>, <c>blockpull</c>,
/// <c>blockcopy</c>.</summary>
internal static class ChangeVerbs
{
    /// <summary>Adds the verbs.</summary>
    public static void AddTo(Command domain, DomainContext context)
    {
        domain.Add(ListDisks(context));
        domain.Add(Snapshot(context));
        domain.Add(Commit(context));
        domain.Add(Pull(context));
        domain.Add(Copy(context));
    }

    private static Command ListDisks(DomainContext context)
    {
        var command = new Command("domblklist", "List the disks.");
        var json = JsonOption.AddTo(command);
        command.SetAction((parsed, token) => context.RunAsync(parsed, async (options, source) =>
        {
            var disks = await new DomainService(options, source).ListDisksAsync(token);
            if (parsed.GetValue(json))
            {
                JsonOutput.Write(context.Console, writer =>
                {
                    writer.WriteStartArray();
                    foreach (var disk in disks)
                    {
                        writer.WriteStartObject();
                        writer.WriteString("target", disk.Name);
                        writer.WriteString("source", disk.Node.Filename);
                        writer.WriteString("node", disk.Node.Name);
                        writer.WriteString("driver", disk.Node.Driver);
                        writer.WriteNumber("size", disk.Node.VirtualSize);
                        writer.WriteBoolean("readonly", disk.IsReadOnly);
                        writer.WriteEndObject();
                    }

                    writer.WriteEndArray();
                });
                return ExitCode.Success;
            }

            var table = ResultTable.Create("Target", "Source");
            foreach (var disk in disks)
            {
                table.AddCells(disk.Name, disk.Node.Filename);
            }

            table.WriteTo(context.Console);
            return ExitCode.Success;
        }, token));
        return command;
    }

    private static Command Snapshot(DomainContext context)
    {
        var command = new Command(
            "snapshot-create-as", "Put an overlay on each disk at one instant; every checkpoint goes on in it.");
        var argument = new Argument<string?>("NAME")
        {
            Description = "Its name; ends the overlays' file names. Default: the seconds since 1970.",
            Arity = ArgumentArity.ZeroOrOne,
        };
        var option = new Option<string?>("--name") { Description = "The same as NAME.", HelpName = "NAME" };
        var disks = new Option<string[]>("--diskspec")
        {
            Description = "What is said of one disk; may be repeated.",
            HelpName = "DISK[,snapshot=external|no][,file=PATH]",
        };
        var diskOnly = new Option<bool>("--disk-only") { Description = "Only disks, no memory: always so." };
        var noMetadata = new Option<bool>("--no-metadata") { Description = "Keep no list of snapshots: always so." };
        var reuse = new Option<bool>("--reuse-external") { Description = "The overlays' files exist already." };
        command.Add(argument);
        command.Add(option);
        command.Add(disks);
        command.Add(diskOnly);
        command.Add(noMetadata);
        command.Add(reuse);
        command.SetAction((parsed, token) =>
        {
            if (parsed.GetValue(argument) is not null && parsed.GetValue(option) is not null)
            {
                throw new UsageException("the name is given twice");
            }

            if (context.IsAtRest(parsed))
            {
                throw new UsageException(
                    "an image at rest gets its overlay by 'image create -b'; a snapshot is of a machine that runs");
            }

            var name = parsed.GetValue(argument) ?? parsed.GetValue(option);
            if (name is not null && (name.Length == 0 || name.Contains('/')))
            {
                throw new UsageException($"'{name}' cannot end a file's name");
            }

            var specs = (parsed.GetValue(disks) ?? []).Select(DiskSpec).ToList();
            return context.RunAsync(parsed, async (options, source) =>
            {
                var overlays = await new ChangeService(options, source).SnapshotAsync(
                    name, specs, parsed.GetValue(reuse), token);
                foreach (var (disk, file) in overlays)
                {
                    context.Console.Output.WriteLine($"disk {disk} now writes to {file}");
                }

                return ExitCode.Success;
            }, token);
        });
        return command;
    }

    private static Command Commit(DomainContext context)
    {
        var command = new Command("blockcommit", "Commit layers of a disk into one below; waits for the end.");
        var disk = Disk(command);
        var baseLayer = Layer(command, "--base", "The layer that gets the data. Default: the lowest one.");
        var top = Layer(command, "--top", "The topmost layer to commit. Default: the active one.");
        var shallow = Flag(command, "--shallow", "Into the layer right below.");
        var active = Flag(command, "--active", "Commit the active layer.");
        var pivot = Flag(command, "--pivot", "And let the disk go over to the base; means --active.");
        var keep = Flag(command, "--keep-overlay", "And stay on the overlay; means --active.");
        var delete = Flag(command, "--delete", "Delete the files of the committed layers.");
        Flag(command, "--wait", "Wait for the end: always so.");
        var speed = Bandwidth(command);
        command.SetAction((parsed, token) =>
        {
            var isActive = parsed.GetValue(active) || parsed.GetValue(pivot) || parsed.GetValue(keep);
            if (isActive && parsed.GetValue(pivot) == parsed.GetValue(keep))
            {
                throw new UsageException("an active commit ends with --pivot or with --keep-overlay");
            }

            if (parsed.GetValue(shallow) && parsed.GetValue(baseLayer) is not null)
            {
                throw new UsageException("--shallow and --base are two bases");
            }

            if (parsed.GetValue(delete) && parsed.GetValue(keep))
            {
                throw new UsageException("--delete would delete the overlay that --keep-overlay keeps");
            }

            var change = new BlockChange
            {
                Disk = parsed.GetRequiredValue(disk),
                Base = parsed.GetValue(baseLayer),
                Top = parsed.GetValue(top),
                IsShallow = parsed.GetValue(shallow),
                IsActive = isActive,
                Pivots = parsed.GetValue(pivot),
                DeletesFiles = parsed.GetValue(delete),
                Speed = Speed(parsed.GetValue(speed)),
            };
            return RunAsync(context, parsed, "commit", change,
                (service, report) => service.CommitAsync(change, report, token), token);
        });
        return command;
    }

    private static Command Pull(DomainContext context)
    {
        var command = new Command(
            "blockpull", "Pull the data of the layers below a disk's active layer into it; waits for the end.");
        var disk = Disk(command);
        var baseLayer = Layer(command, "--base", "The layer that stays below. Default: none.");
        Flag(command, "--wait", "Wait for the end: always so.");
        var speed = Bandwidth(command);
        command.SetAction((parsed, token) =>
        {
            var change = new BlockChange
            {
                Disk = parsed.GetRequiredValue(disk),
                Base = parsed.GetValue(baseLayer),
                Speed = Speed(parsed.GetValue(speed)),
            };
            return RunAsync(context, parsed, "pull", change,
                (service, report) => service.PullAsync(change, report, token), token);
        });
        return command;
    }

    private static Command Copy(DomainContext context)
    {
        var command = new Command("blockcopy", "Copy a disk to another image; waits for the end.");
        var disk = Disk(command);
        var destination = new Argument<string>("DEST") { Description = "The other image's full path." };
        command.Add(destination);
        var format = new Option<string?>("--format")
        {
            Description = "Its format. Default: the active layer's.",
            HelpName = "qcow2|raw",
        };
        command.Add(format);
        var shallow = Flag(command, "--shallow", "Only the active layer; the layers below are shared.");
        var reuse = Flag(command, "--reuse-external", "The image exists and is used as it is.");
        var pivot = Flag(command, "--pivot", "Let the disk go over to the copy at the end.");
        var finish = Flag(command, "--finish", "Stay on the disk: the other image is a copy.");
        Flag(command, "--transient-job", "The job does not outlive the hypervisor: always so.");
        Flag(command, "--wait", "Wait for the end: always so.");
        var speed = Bandwidth(command);
        command.SetAction((parsed, token) =>
        {
            if (parsed.GetValue(pivot) == parsed.GetValue(finish))
            {
                throw new UsageException("a copy ends with --pivot or with --finish");
            }

            var change = new BlockChange
            {
                Disk = parsed.GetRequiredValue(disk),
                Destination = parsed.GetRequiredValue(destination),
                Format = parsed.GetValue(format),
                IsShallow = parsed.GetValue(shallow),
                ReusesExternal = parsed.GetValue(reuse),
                Pivots = parsed.GetValue(pivot),
                Speed = Speed(parsed.GetValue(speed)),
            };
            return RunAsync(context, parsed, "copy", change,
                (service, report) => service.CopyAsync(change, report, token), token);
        });
        return command;
    }

    private static Task<int> RunAsync(
        DomainContext context,
        ParseResult parsed,
        string what,
        BlockChange change,
        Func<ChangeService, Action<long, long>, Task> work,
        CancellationToken cancellationToken)
    {
        if (context.IsAtRest(parsed))
        {
            throw new UsageException(
                $"an image at rest is not a machine that runs: use 'image convert' or 'image create' for a {what}");
        }

        return context.RunAsync(parsed, async (options, source) =>
        {
            await using (var progress = new BackupProgressDisplay(context.Console))
            {
                progress.Phase($"{what} of disk {change.Disk}");
                await work(
                    new ChangeService(options, source),
                    (done, total) => progress.Report([new DiskProgress(change.Disk, done, total, done)]));
            }

            context.Console.Output.WriteLine($"Block {what} of disk {change.Disk} complete");
            return ExitCode.Success;
        }, cancellationToken);
    }

    private static SnapshotDisk DiskSpec(string text)
    {
        string[] parts = text.Split(',');
        var disk = new SnapshotDisk(parts[0], true, null);
        foreach (var part in parts.Skip(1))
        {
            disk = part switch
            {
                "snapshot=external" => disk with { IsIncluded = true },
                "snapshot=no" => disk with { IsIncluded = false },
                "driver=qcow2" => disk,
                _ when part.StartsWith("file=/", StringComparison.Ordinal) =>
                    disk with { File = part["file=".Length..] },
                _ => throw new UsageException(
                    $"--diskspec '{text}': DISK[,snapshot=external|no][,driver=qcow2][,file=FULLPATH]"),
            };
        }

        return parts[0].Length > 0 ? disk : throw new UsageException($"--diskspec '{text}' names no disk");
    }

    private static Argument<string> Disk(Command command)
    {
        var argument = new Argument<string>("DISK") { Description = "The disk, as domblklist names it." };
        command.Add(argument);
        return argument;
    }

    private static Option<string?> Layer(Command command, string name, string description)
    {
        var option = new Option<string?>(name) { Description = description, HelpName = "NODE|PATH" };
        command.Add(option);
        return option;
    }

    private static Option<bool> Flag(Command command, string name, string description)
    {
        var option = new Option<bool>(name) { Description = description };
        command.Add(option);
        return option;
    }

    private static Option<long?> Bandwidth(Command command)
    {
        var option = new Option<long?>("--bandwidth") { Description = "At most that fast.", HelpName = "MIB/S" };
        command.Add(option);
        return option;
    }

    private static long Speed(long? bandwidth) => bandwidth switch
    {
        null => 0,
        > 0 and < 1L << 40 => bandwidth.Value << 20,
        _ => throw new UsageException(string.Create(
            CultureInfo.InvariantCulture, $"--bandwidth {bandwidth} is no speed in MiB a second")),
    };
}
