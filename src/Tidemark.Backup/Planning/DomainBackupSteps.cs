// The steps of a virtual machine's backup. The order: everything that can fail without harm first (files, images, the
// server), then the one transaction that is the point in time, then what publishes it. Undone last to first.

using System.Text.Json.Nodes;
using Tidemark.Backup.Actions;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.Graph;
using Tidemark.Backup.Rules;
using Tidemark.Qmp;

namespace Tidemark.Backup.Planning;

/// <summary>Makes the steps of a virtual machine's backup.</summary>
internal sealed class DomainBackupSteps(
    DomainBackupRequest request,
    BackupDefinition backup,
    IReadOnlyList<DomainPlannedDisk> disks,
    IReadOnlyList<BitmapAdd> checkpointBitmaps,
    NbdAddress? nbd,
    HypervisorCapabilities capabilities)
{
    private readonly RunNames _names = new(request.RunId);
    private readonly List<PlanStep> _steps = [];

    private bool IsPull => backup.Mode == BackupMode.Pull;

    /// <summary>All steps in their order.</summary>
    internal List<PlanStep> Build()
    {
        if (IsPull)
        {
            AddScratchCheck();
        }

        foreach (var disk in disks)
        {
            AddImage(disk);
        }

        if (IsPull && !request.NbdRuns)
        {
            AddServer();
        }

        _steps.Add(PointInTime());
        if (IsPull)
        {
            foreach (var disk in disks)
            {
                _steps.Add(StepParts.Export(
                    disk.Name, disk.ImageNode, disk.ExportId!, disk.ExportName!, disk.Temporary?.Name));
            }
        }

        _steps.Add(new PlanStep.Transfer(IsPull ? "wait for the client" : "wait for the jobs"));
        return _steps;
    }

    private void AddScratchCheck()
    {
        List<string> directories =
        [
            .. disks.Where(disk => disk.Kind == ImageKind.File)
                .Select(disk => disk.Image.Path[..Math.Max(disk.Image.Path.LastIndexOf('/'), 1)]).Distinct(),
        ];
        if (directories.Count > 0)
        {
            _steps.Add(new PlanStep.CheckScratch(
                "look at the scratch's file system",
                directories,
                capabilities.BreaksSnapshot ? 0 : BackupLimits.ScratchFloor));
        }
    }

    private void AddImage(DomainPlannedDisk disk)
    {
        var what = IsPull ? "scratch" : "target";
        var isFile = disk.Kind == ImageKind.File;
        var isMade = isFile && !request.ReuseExternal;
        if (isMade)
        {
            // A target stays when the backup succeeded; a scratch never does.
            _steps.Add(new PlanStep.CreateFile(
                $"create the {what} file of disk '{disk.Name}'",
                disk.Image.Path,
                disk.Chain.Top.Filename,
                [IsPull ? new UndoAction.ScratchFile(disk.Image.Path) : new UndoAction.TargetFile(disk.Image.Path)]));
            if (disk.Format == "raw")
            {
                _steps.Add(StepParts.Create(
                    $"make the {what} file of disk '{disk.Name}' as large as the disk",
                    _names.CreateJob(disk.Ordinal, "file"),
                    new JsonObject { ["driver"] = "file", ["filename"] = disk.Image.Path, ["size"] = disk.Size }));
            }
        }

        _steps.Add(StepParts.OpenFile(
            $"open the {what} of disk '{disk.Name}'", disk.StorageNode, disk.Image.Path, isDevice: !isFile));
        if (isMade && IsPull)
        {
            _steps.Add(new PlanStep.Unlink($"unlink the scratch file of disk '{disk.Name}'", disk.Image.Path));
        }

        if (disk.Encryption is { } encryption)
        {
            _steps.Add(new PlanStep.Command(
                $"load the key of the {what} of disk '{disk.Name}'",
                new QmpCommand("object-add", encryption.ToSecret()),
                [new UndoAction.ServerObject(encryption.SecretId)]));
        }

        AddFormat(disk, what, disk is { Encryption: not null, Format: "raw" } ? "luks" : disk.Format);
    }

    // The format is the image's, or LUKS where a raw image is encrypted.
    private void AddFormat(DomainPlannedDisk disk, string what, string driver)
    {
        if (driver != "raw" && !request.ReuseExternal)
        {
            _steps.Add(StepParts.Create(
                $"format the {what} of disk '{disk.Name}'",
                _names.CreateJob(disk.Ordinal, driver),
                driver == "luks" ? Luks(disk, disk.Encryption!) : Qcow2(disk)));
        }

        JsonObject options = new()
        {
            ["driver"] = driver,
            ["node-name"] = disk.ImageNode,
            ["file"] = disk.StorageNode,
            ["read-only"] = false,
        };
        if (disk.Format == "qcow2")
        {
            // The running disk itself answers for what is not in the image: what a pull has not saved from the guest,
            // and the rest of a cluster of which an increment copies a part. null: not what the file's header says.
            options["backing"] = IsPull || disk.Mode == DiskBackupMode.Incremental ? disk.NodeName : null;
            options["discard"] = "unmap";
            if (disk.Encryption is { } encryption)
            {
                JsonObject encrypt = new() { ["format"] = "luks" };
                encryption.AddKey(encrypt);
                options["encrypt"] = encrypt;
            }
        }
        else
        {
            disk.Encryption?.AddKey(options);
        }

        _steps.Add(StepParts.Open($"open the format of the {what} of disk '{disk.Name}'", disk.ImageNode, options));
    }

    private static JsonObject Luks(DomainPlannedDisk disk, PlannedEncryption encryption)
    {
        JsonObject options = new() { ["driver"] = "luks", ["file"] = disk.StorageNode, ["size"] = disk.Size };
        encryption.AddCreation(options);
        return options;
    }

    private JsonObject Qcow2(DomainPlannedDisk disk)
    {
        JsonObject options = new() { ["driver"] = "qcow2", ["file"] = disk.StorageNode, ["size"] = disk.Size };
        var top = disk.Chain.Top;
        if (!IsPull && top.Driver == "qcow2" && top.ClusterSize is { } clusterSize)
        {
            options["cluster-size"] = clusterSize;
            if (top.HasSubclusters)
            {
                options["extended-l2"] = true;
            }
        }
        else
        {
            options["cluster-size"] = BackupLimits.ScratchClusterSize;
        }

        if (disk.Encryption is { } encryption)
        {
            JsonObject encrypt = new() { ["format"] = "luks" };
            encryption.AddCreation(encrypt);
            options["encrypt"] = encrypt;
        }

        return options;
    }

    private void AddServer()
    {
        string? tls = null;
        if (backup.Server!.Tls == true)
        {
            tls = _names.TlsObject;
            _steps.Add(new PlanStep.Command(
                "load the NBD server's certificates",
                new QmpCommand("object-add", new JsonObject
                {
                    ["qom-type"] = "tls-creds-x509",
                    ["id"] = tls,
                    ["dir"] = request.TlsDirectory,
                    ["endpoint"] = "server",
                    ["verify-peer"] = true,
                }),
                [new UndoAction.ServerObject(tls)]));
        }

        _steps.Add(StepParts.StartServer(nbd!, tls));
    }

    private PlanStep.Transaction PointInTime()
    {
        List<TransactionAction> actions = [.. checkpointBitmaps];
        List<UndoAction> undo =
            [.. checkpointBitmaps.Select(add => new UndoAction.CheckpointBitmap(add.Node, add.Name))];
        foreach (var disk in disks)
        {
            if (disk.Temporary is { } temporary)
            {
                actions.AddRange(BitmapChain.Merge(disk.Chain, disk.Since!, temporary.Node, temporary.Name));
                if (!IsPull)
                {
                    undo.Add(new UndoAction.TemporaryBitmap(temporary.Node, temporary.Name));
                }
            }

            var sync = IsPull ? JobSync.None : disk.Temporary is null ? JobSync.Full : JobSync.Bitmap;
            actions.Add(new BackupJob(
                disk.NodeName,
                disk.JobId,
                disk.ImageNode,
                sync,
                sync == JobSync.Bitmap ? disk.Temporary!.Name : null,
                capabilities.BreaksSnapshot));
        }

        undo.AddRange(disks.Select(disk => new UndoAction.Job(disk.JobId)));
        return new PlanStep.Transaction("freeze all disks at one instant", actions, undo);
    }
}
