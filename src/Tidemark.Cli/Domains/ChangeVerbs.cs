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

    private const string SnapshotSpec = "DISK[,snapshot=external|no][,driver=qcow2][,file=FULLPATH]";

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
        var nameOf = command.AddEither(
            "NAME", "--name", "NAME", "Its name; ends the overlays' file names. Default: the seconds since 1970.");
        var disks = command.AddTexts("--diskspec", SnapshotSpec, "What is said of one disk; may be repeated.");
        command.AddFlag("--disk-only", "Only disks, no memory: always so.");
        command.AddFlag("--no-metadata", "Keep no list of snapshots: always so.");
        command.AddFlag("--atomic", "All disks or none: always so.");
        var reuse = command.AddFlag("--reuse-external", "The overlays' files exist already.");
        command.SetAction((parsed, token) =>
        {
            if (context.IsAtRest(parsed))
            {
                throw new UsageException(
                    "an image at rest gets its overlay by 'image create -b'; a snapshot is of a machine that runs");
            }

            var name = nameOf(parsed);
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
        var baseLayer = command.AddText(
            "--base", "NODE|PATH", "The layer that gets the data. Default: the lowest one.");
        var top = command.AddText("--top", "NODE|PATH", "The topmost layer to commit. Default: the active one.");
        var shallow = command.AddFlag("--shallow", "Into the layer right below.");
        var active = command.AddFlag("--active", "Commit the active layer.");
        var pivot = command.AddFlag("--pivot", "And let the disk go over to the base; means --active.");
        var keep = command.AddFlag("--keep-overlay", "And stay on the overlay; means --active.");
        var delete = command.AddFlag("--delete", "Delete the files of the committed layers.");
        command.AddFlag("--wait", "Wait for the end: always so.");
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
                Disk = disk(parsed),
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
        var baseLayer = command.AddText("--base", "NODE|PATH", "The layer that stays below. Default: none.");
        command.AddFlag("--wait", "Wait for the end: always so.");
        var speed = Bandwidth(command);
        command.SetAction((parsed, token) =>
        {
            var change = new BlockChange
            {
                Disk = disk(parsed),
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
        var destination = command.AddRequiredEither("DEST", "--dest", "PATH", "The other image's full path.");
        var format = command.AddText("--format", "qcow2|raw", "Its format. Default: the active layer's.");
        var shallow = command.AddFlag("--shallow", "Only the active layer; the layers below are shared.");
        var reuse = command.AddFlag("--reuse-external", "The image exists and is used as it is.");
        var pivot = command.AddFlag("--pivot", "Let the disk go over to the copy at the end.");
        var finish = command.AddFlag("--finish", "Stay on the disk: the other image is a copy.");
        command.AddFlag("--transient-job", "The job does not outlive the hypervisor: always so.");
        command.AddFlag("--wait", "Wait for the end: always so.");
        var speed = Bandwidth(command);
        command.SetAction((parsed, token) =>
        {
            if (parsed.GetValue(pivot) == parsed.GetValue(finish))
            {
                throw new UsageException("a copy ends with --pivot or with --finish");
            }

            var change = new BlockChange
            {
                Disk = disk(parsed),
                Destination = destination(parsed),
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

    private static SnapshotDisk DiskSpec(string text) => VerbOptions.ReadDiskSpec(
        text,
        SnapshotSpec,
        name => new SnapshotDisk(name, true, null),
        (disk, part) => part switch
        {
            "snapshot=external" => disk with { IsIncluded = true },
            "snapshot=no" => disk with { IsIncluded = false },
            "driver=qcow2" => disk,
            _ when part.StartsWith("file=/", StringComparison.Ordinal) => disk with { File = part["file=".Length..] },
            _ => null,
        });

    private static Func<ParseResult, string> Disk(Command command) =>
        command.AddRequiredEither("DISK", "--path", "DISK", "The disk, as domblklist names it.");

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
