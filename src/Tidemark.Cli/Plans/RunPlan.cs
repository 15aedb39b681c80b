using System.CommandLine;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Planning;
using Tidemark.Backup.Xml;
using Tidemark.Cli.Sources;
using Tidemark.Cli.Terminal;

namespace Tidemark.Cli.Plans;

/// <summary><c>plan run</c>: the whole plan of a virtual machine's backup, every command in order (<c>C:</c>) with what
/// takes it back (<c>U:</c>).</summary>
internal sealed class RunPlan
{
    private readonly CommandConsole _console;
    private readonly Command _command = new("run", "The whole plan of a backup: every command with its undo.");

    private readonly Option<string> _nodes = new("--nodes")
    {
        Description = "The list that query-named-block-nodes returned.",
        HelpName = "FILE",
        Required = true,
    };

    private readonly Option<string> _backup = new("--backup")
    {
        Description = "The backup's XML.",
        HelpName = "XML",
        Required = true,
    };

    private readonly Option<string?> _checkpoint = new("--checkpoint")
    {
        Description = "The XML of a checkpoint to create at the same instant. Default: none.",
        HelpName = "XML",
    };

    private readonly Option<string?> _mode = new("--mode")
    {
        Description = "The mode that the XML must have. Default: whichever it has.",
        HelpName = "push|pull",
    };

    private readonly Option<string?> _disks = new("--disks")
    {
        Description = "The virtual machine's disks in their order, and the nodes of their active layers. Default: "
            + "every active layer, called as its node, or as the XML's disk that its file is named after.",
        HelpName = "NAME=NODE,…",
    };

    private readonly Option<bool> _reuse = new("--reuse-external")
    {
        Description = "Targets and scratch files exist already and are used as they are.",
    };

    private readonly Option<bool> _fallBack = new("--fallback-full")
    {
        Description = "A disk whose bitmap cannot be trusted is read whole, instead of refusing the backup.",
    };

    private readonly Option<long?> _granularity = new("--granularity")
    {
        Description = "Bytes per bit of the checkpoint's bitmaps. Default: the hypervisor's choice.",
        HelpName = "BYTES",
    };

    private readonly Option<string?> _tls = new("--tls-dir")
    {
        Description = "The hypervisor's directory of certificates, for a server with tls='yes'.",
        HelpName = "DIR",
    };

    private readonly Option<bool> _nbdRuns = new("--nbd-running")
    {
        Description = "The hypervisor's NBD server runs already, at the XML's address; it is not stopped.",
    };

    private readonly Option<string[]> _secretFiles = SecretFileOption.Create();

    private readonly Option<string> _run = new("--run")
    {
        Description = "The run's id, after which everything temporary is named: 16 hexadecimal digits.",
        HelpName = "ID",
        DefaultValueFactory = _ => new string('0', RunNames.IdLength),
    };

    private readonly Option<long> _time = new("--time")
    {
        Description = "When it is begun, in seconds since 1970; names what has no name. Default: 0.",
        HelpName = "SECONDS",
    };

    private RunPlan(CommandConsole console)
    {
        _console = console;
        _mode.AcceptOnlyFromAmong("push", "pull");
        _command.Add(_nodes);
        _command.Add(_backup);
        _command.Add(_checkpoint);
        _command.Add(_mode);
        _command.Add(_disks);
        _command.Add(_reuse);
        _command.Add(_fallBack);
        _command.Add(_granularity);
        _command.Add(_tls);
        _command.Add(_nbdRuns);
        _command.Add(_secretFiles);
        _command.Add(_run);
        _command.Add(_time);
        _command.SetAction(Run);
    }

    /// <summary>Builds the verb.</summary>
    public static Command Create(CommandConsole console) => new RunPlan(console)._command;

    private int Run(ParseResult parsed)
    {
        var run = parsed.GetRequiredValue(_run);
        if (!RunNames.IsRunId(run))
        {
            throw new UsageException($"--run {run} is no run's id: 16 lower-case hexadecimal digits");
        }

        var graph = GraphFile.Read(parsed.GetRequiredValue(_nodes));
        var backup = ReadBackup(parsed);
        var outcome = DomainBackupPlanner.Plan(
            new DomainBackupRequest
            {
                RunId = run,
                Backup = backup,
                Checkpoint = ReadCheckpoint(parsed),
                Disks = FindDisks(parsed, graph, backup),
                Time = parsed.GetValue(_time),
                ReuseExternal = parsed.GetValue(_reuse),
                FallBackToFull = parsed.GetValue(_fallBack),
                Granularity = parsed.GetValue(_granularity),
                TlsDirectory = parsed.GetValue(_tls),
                NbdRuns = parsed.GetValue(_nbdRuns),
                SecretFiles = SecretFileOption.Read(parsed.GetValue(_secretFiles)),
            },
            graph,
            HypervisorCapabilities.Assumed);
        if (outcome is PlanConflict conflict)
        {
            throw new CliException(conflict.ToString());
        }

        _console.Output.Write(PlanText.Render(outcome));
        return ExitCode.Success;
    }

    private BackupDefinition ReadBackup(ParseResult parsed)
    {
        var path = parsed.GetRequiredValue(_backup);
        using var stream = File.OpenRead(path);
        var backup = BackupXml.Parse(stream);
        return parsed.GetValue(_mode) is { } mode && mode != backup.Mode.ToText()
            ? throw new UsageException($"--mode {mode}: the XML '{path}' is a {backup.Mode.ToText()}'s")
            : backup;
    }

    private CheckpointDefinition? ReadCheckpoint(ParseResult parsed)
    {
        if (parsed.GetValue(_checkpoint) is not { } path)
        {
            return null;
        }

        using var stream = File.OpenRead(path);
        return CheckpointXml.Parse(stream);
    }

    private List<DomainDisk> FindDisks(ParseResult parsed, GraphSnapshot graph, BackupDefinition backup)
    {
        var roots = ActiveLayers.Of(graph);
        if (parsed.GetValue(_disks) is not { } text)
        {
            return GuessDisks(roots, backup);
        }

        List<DomainDisk> disks = [];
        foreach (var part in text.Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            var equals = part.IndexOf('=', StringComparison.Ordinal);
            if (equals <= 0 || graph.Find(part[(equals + 1)..]) is not { } node)
            {
                throw new UsageException(
                    $"'{part}' names no disk and node; write --disks NAME=NODE,…; the active layers are "
                    + string.Join(", ", roots.Select(root => $"'{root.Name}'")));
            }

            disks.Add(disks.TrueForAll(other => other.Name != part[..equals])
                ? Describe(part[..equals], node)
                : throw new UsageException($"--disks names '{part[..equals]}' twice"));
        }

        return disks;
    }

    // A list of nodes does not tell what the machine calls its disks. An XML that was written for the machine does: a
    // name of its that is no node's is the disk whose file is called so, where there is just one; and where one name
    // and one disk are left over, they belong together.
    private List<DomainDisk> GuessDisks(IReadOnlyList<GraphNode> roots, BackupDefinition backup)
    {
        List<string> wanted = [.. (backup.Disks ?? []).Select(disk => disk.Name).Distinct(StringComparer.Ordinal)];
        List<string> open = [.. wanted.Where(name => !roots.Any(root => root.Name == name))];
        Dictionary<GraphNode, string> names = [];
        foreach (var name in open)
        {
            if (roots.Where(root => StemOf(root) == name).ToList() is [var node])
            {
                names[node] = Say(name, node, $"by its file '{node.Filename}'");
            }
        }

        open.RemoveAll(names.ContainsValue);
        if (open is [var last]
            && roots.Where(root => !names.ContainsKey(root) && !wanted.Contains(root.Name)).ToList() is [var left])
        {
            names[left] = Say(last, left, "the only one left");
            open.Clear();
        }

        if (open is [var missing, ..])
        {
            throw new CliException(
                $"no disk named '{missing}': the list of nodes does not tell; write --disks NAME=NODE,…; the active "
                    + $"layers are {string.Join(", ", roots.Select(root => $"'{root.Name}' ({root.Filename})"))}");
        }

        // In the XML's order as far as it names them: the machine's own order is not known.
        return
        [
            .. roots.Select(node => Describe(names.GetValueOrDefault(node) ?? node.Name, node))
                .OrderBy(disk => wanted.IndexOf(disk.Name) is >= 0 and var index ? index : wanted.Count),
        ];
    }

    private string Say(string name, GraphNode node, string reason)
    {
        _console.WriteMessage(
            $"disk '{name}' is taken to be node '{node.Name}', {reason}; --disks NAME=NODE says otherwise");
        return name;
    }

    private static string StemOf(GraphNode node) => Path.GetFileName(node.Filename).Split('.')[0];

    private static DomainDisk Describe(string name, GraphNode node) => new(name)
    {
        NodeName = node.Name,
        Path = node.Filename.StartsWith('/') ? node.Filename : "",
        Format = node.Driver,
        Kind = node.Filename.StartsWith("/dev/", StringComparison.Ordinal) ? ImageKind.Block
            : node.Filename.StartsWith('/') ? ImageKind.File : ImageKind.Other,
        IsReadOnly = node.IsReadOnly,
    };
}
