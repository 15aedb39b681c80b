using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Tidemark.Backup.Definitions;
using Tidemark.Backup.RestorePoints;
using Tidemark.Cli.Terminal;
using Tidemark.Repository;
using Tidemark.Repository.Backends;
using Tidemark.Repository.Snapshots;

namespace Tidemark.Cli.Commands;

/// <summary><c>tidemark snapshots</c>: lists the restore points of a repository, oldest first.</summary>
internal static class SnapshotsCommand
{
    private const string TimeFormat = "yyyy-MM-dd HH:mm:ss";

    /// <summary>Builds the verb.</summary>
    public static Command Create(CommandConsole console)
    {
        var command = new Command("snapshots", "List the restore points of a repository.");
        var options = new RepositoryOptions(command);
        var json = JsonOption.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var password = options.Password(parsed, console);
            await using var repository = await Repository.Repository.OpenAsync(
                new LocalBackend(options.Path(parsed)), password, cancellationToken: cancellationToken);
            var (points, isComplete) = await ReadAsync(repository, console, cancellationToken);
            if (parsed.GetValue(json))
            {
                JsonOutput.Write(console, writer => WriteJson(writer, points));
            }
            else
            {
                WriteText(points, repository, console);
            }

            return isComplete ? ExitCode.Success : ExitCode.Failure;
        });
        return command;
    }

    private static async Task<(List<(Snapshot Snapshot, SnapshotManifest Manifest)> Points, bool IsComplete)> ReadAsync(
        Repository.Repository repository, CommandConsole console, CancellationToken cancellationToken)
    {
        var points = new List<(Snapshot, SnapshotManifest)>();
        var isComplete = true;
        var foreignCount = 0;
        foreach (var snapshot in await repository.ListSnapshotsAsync(cancellationToken))
        {
            if (!snapshot.IsRestorePoint)
            {
                foreignCount++;
                continue;
            }

            try
            {
                var content = await repository.ReadFileAsync(snapshot, SnapshotManifest.FileName, cancellationToken);
                points.Add((snapshot, SnapshotManifest.Parse(content, $"snapshot {snapshot.Id.ToShortString()}")));
            }
            catch (Exception exception) when (exception is BackupException or RepositoryException)
            {
                // One that cannot be read hides no other; but the list is then not the whole truth.
                console.WriteError(
                    $"snapshot {snapshot.Id.ToShortString()} is not shown: {ErrorText.Describe(exception)}");
                isComplete = false;
            }
        }

        if (foreignCount > 0)
        {
            console.WriteMessage(
                $"{foreignCount} snapshots that Tidemark did not make are not shown; restic lists them.");
        }

        return (points, isComplete);
    }

    private static void WriteJson(Utf8JsonWriter writer, List<(Snapshot Snapshot, SnapshotManifest Manifest)> points)
    {
        writer.WriteStartArray();
        foreach (var (snapshot, manifest) in points)
        {
            writer.WriteStartObject();
            writer.WriteString("id", snapshot.Id.ToString());
            writer.WriteString("short_id", snapshot.Id.ToShortString());
            writer.WriteString("time", snapshot.Time.ToString("O", CultureInfo.InvariantCulture));
            writer.WriteString("name", manifest.VmName);
            writer.WriteString("mode", manifest.Mode.ToText());
            writer.WriteString("checkpoint", manifest.Checkpoint);
            writer.WriteStartArray("disks");
            foreach (var disk in manifest.Disks)
            {
                writer.WriteStartObject();
                writer.WriteString("name", disk.Name);
                writer.WriteNumber("size", disk.Size);
                writer.WriteString("kind", disk.Kind.ToText());
                writer.WriteEndObject();
            }

            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
    }

    private static void WriteText(
        List<(Snapshot Snapshot, SnapshotManifest Manifest)> points, Repository.Repository repository,
        CommandConsole console)
    {
        if (points.Count == 0)
        {
            console.WriteMessage($"no restore point yet in the repository at {repository.Location}");
            return;
        }

        var table = ResultTable.Create("id", "time (UTC)", "name", "mode", "disk", ">size", "kind", ">stored");
        foreach (var (snapshot, manifest) in points)
        {
            var isFirst = true;
            foreach (var disk in manifest.Disks)
            {
                table.AddCells(
                    isFirst ? snapshot.Id.ToShortString() : "",
                    isFirst ? snapshot.Time.UtcDateTime.ToString(TimeFormat, CultureInfo.InvariantCulture) : "",
                    isFirst ? manifest.VmName : "",
                    isFirst ? manifest.Mode.ToText() : "",
                    disk.Name,
                    ByteSize.Format(disk.Size),
                    disk.Kind.ToText(),
                    ByteSize.Format(disk.BytesStored));
                isFirst = false;
            }
        }

        table.WriteTo(console);
    }
}
