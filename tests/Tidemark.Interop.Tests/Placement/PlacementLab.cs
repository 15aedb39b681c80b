using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Testing;

namespace Tidemark.Interop.Tests.Placement;

/// <summary>
/// A disk <c>top</c> over <c>base</c> on a running hypervisor, both with a checkpoint's bitmap, and what a backup
/// consists of, piece by piece, so that the temporary bitmap can be laid onto any node.
/// </summary>
/// <remarks>Every node that a case adds is removed by <see cref="ClearAsync"/>, so cases follow one another.</remarks>
internal sealed class PlacementLab(Hypervisor hypervisor, string folder, bool embedded, CancellationToken token)
{
    public const string Temporary = "temporary";

    private const string Checkpoint = "checkpoint";
    private const long DiskLength = 8 << 20;
    private const byte Pattern = 7;

    // What was written after the checkpoint: two ranges in the top layer, one in the base.
    private static readonly (string Layer, long Offset, long Length)[] s_dirty =
        [("top", 1 << 20, 128 << 10), ("base", 3 << 20, 64 << 10), ("top", 5 << 20, 64 << 10)];

    private readonly List<string> _added = [];
    private readonly List<string> _exports = [];
    private readonly List<string> _jobs = [];

    private string NbdPath => Path.Combine(folder, "nbd.sock");

    /// <summary>The images, each with its checkpoint's bitmap and what was written since.</summary>
    public async Task CreateImagesAsync()
    {
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", FileOf("base"), $"{DiskLength}");
        await Tool.RunOkAsync("qemu-io", "-c", "write -q -P 1 0 8M", FileOf("base"));
        await Tool.RunOkAsync("qemu-img", "bitmap", "--add", FileOf("base"), Checkpoint);
        await DirtyAsync("base");
        await Tool.RunOkAsync(
            "qemu-img", "create", "-q", "-f", "qcow2", "-b", FileOf("base"), "-F", "qcow2", FileOf("top"));
        await Tool.RunOkAsync("qemu-img", "bitmap", "--add", FileOf("top"), Checkpoint);
        await DirtyAsync("top");
    }

    /// <summary>The disk's nodes; an NBD server where the hypervisor was not started with one.</summary>
    public async Task OpenDiskAsync(bool startServer)
    {
        if (startServer)
        {
            await RunAsync("nbd-server-start", $$"""
                {"addr": {"type": "unix", "data": {"path": "{{NbdPath}}" } } }
                """);
        }

        await AddImageAsync("base", "null", isReadOnly: true);
        await AddImageAsync("top", "\"base\"");
        _added.Clear();
    }

    /// <summary>A new empty image <c>NAME</c> over <c>NAME-file</c>.</summary>
    /// <param name="name">The node's name.</param>
    /// <param name="backing">The node that it shows where it holds nothing; null: none.</param>
    public async Task AddStoreAsync(string name, string? backing)
    {
        File.Delete(FileOf(name));
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", FileOf(name), $"{DiskLength}");
        await AddImageAsync(name, backing is null ? "null" : $"\"{backing}\"");
    }

    /// <summary>A filter with a <c>file</c> child; the embedded engine has but one such.</summary>
    public async Task AddFilterAsync(string name, string over)
    {
        if (embedded)
        {
            await AddNodeAsync($"{name}-null", $$"""
                "driver": "null-co", "size": {{DiskLength}}
                """);
            await AddNodeAsync(name, $"""
                "driver": "copy-before-write", "file": "{over}", "target": "{name}-null"
                """);
            return;
        }

        await AddNodeAsync(name, $"""
            "driver": "copy-on-read", "file": "{over}"
            """);
    }

    public Task AddNodeAsync(string name, string options)
    {
        _added.Add(name);
        return RunAsync("blockdev-add", $$"""{"node-name": "{{name}}", {{options}}}""");
    }

    /// <summary>Lays the temporary bitmap onto a node, with all that the checkpoint's bitmaps hold.</summary>
    public async Task AddTemporaryAsync(string node, bool isEmpty = false)
    {
        await RunAsync("block-dirty-bitmap-add", $$"""
            {"node": "{{node}}", "name": "{{Temporary}}", "persistent": false, "disabled": true, "granularity": 65536}
            """);
        if (!isEmpty)
        {
            await RunAsync("block-dirty-bitmap-merge", $$"""
                {"node": "{{node}}", "target": "{{Temporary}}", "bitmaps": [
                    {"node": "top", "name": "{{Checkpoint}}"}, {"node": "base", "name": "{{Checkpoint}}"}]}
                """);
        }
    }

    /// <summary>Runs a push by the temporary bitmap to its end, into node <c>target</c>.</summary>
    /// <returns>Whether the target then holds what the bitmap names, and nothing else.</returns>
    public async Task<bool> PushAsync(string device)
    {
        await BeginJobAsync(device, "target", $", \"bitmap\": \"{Temporary}\", \"bitmap-mode\": \"never\"", "bitmap");
        if (await EndJobAsync("job0") is { Length: > 0 } error)
        {
            throw new InvalidOperationException(error);
        }

        await ClearAsync();
        var holds = await ExtentsAsync(
            "qemu-img", ["map", "--output=json", FileOf("target")], "start", extent => extent.GetProperty("data")
                .GetBoolean());
        foreach (var (_, offset, length) in s_dirty)
        {
            await Tool.RunOkAsync("qemu-io", "-r", "-c", $"read -q -P {Pattern} {offset} {length}", FileOf("target"));
        }

        return holds.SequenceEqual(s_dirty.Select(range => (range.Offset, range.Length)));
    }

    /// <summary>Begins to save what the guest overwrites into node <c>scratch</c>.</summary>
    public Task BeginPullAsync() => BeginJobAsync("top", "scratch", "", "none");

    /// <summary>Exports a node with the temporary bitmap, named as given.</summary>
    /// <returns>Whether a client then sees what the checkpoint's bitmaps hold.</returns>
    public async Task<bool> ExportAsync(string node, string? bitmap = null)
    {
        const string Name = "view";
        await RunAsync("block-export-add", $$"""
            {"type": "nbd", "id": "{{Name}}", "name": "{{Name}}", "node-name": "{{node}}", "writable": false,
             "bitmaps": [{{bitmap ?? $"\"{Temporary}\""}}]}
            """);
        _exports.Add(Name);
        var uri = $"nbd+unix:///{Name}?socket={NbdPath}";
        var dirty = await ExtentsAsync(
            "nbdinfo", ["--json", $"--map=qemu:dirty-bitmap:{Temporary}", uri], "offset",
            extent => extent.GetProperty("type").GetInt32() == 1);
        return dirty.SequenceEqual(s_dirty.Select(range => (range.Offset, range.Length)));
    }

    /// <summary>The filter that the job has put over the disk, or null where none can be named.</summary>
    public async Task<string?> JobFilterAsync()
    {
        var nodes = await hypervisor.ExecuteAsync("query-named-block-nodes", new JsonObject { ["flat"] = true }, token);
        return nodes.EnumerateArray()
            .Where(node => node.GetProperty("drv").GetString() is "copy-before-write" or "backup-top")
            .Select(node => node.GetProperty("node-name").GetString()).FirstOrDefault();
    }

    /// <summary>Removes what a case has added, and its bitmaps.</summary>
    public async Task ClearAsync()
    {
        foreach (var export in _exports)
        {
            await RunAsync("block-export-del", $$"""{"id": "{{export}}", "mode": "hard"}""");
        }

        _exports.Clear();
        foreach (var job in _jobs.ToArray())
        {
            await EndJobAsync(job, cancel: true);
        }

        foreach (var node in Enumerable.Reverse(_added))
        {
            await UntilAsync(() => RunAsync("blockdev-del", $$"""{"node-name": "{{node}}"}"""));
        }

        _added.Clear();
        foreach (var bitmap in await hypervisor.BitmapsAsync(token))
        {
            if (bitmap.Name == Temporary)
            {
                await UntilAsync(() => RunAsync(
                    "block-dirty-bitmap-remove", $$"""{"node": "{{bitmap.Node}}", "name": "{{Temporary}}"}"""));
            }
        }
    }

    private string FileOf(string name) => Path.Combine(folder, $"{name}.image");

    private async Task DirtyAsync(string layer)
    {
        foreach (var (_, offset, length) in s_dirty.Where(range => range.Layer == layer))
        {
            await Tool.RunOkAsync("qemu-io", "-c", $"write -q -P {Pattern} {offset} {length}", FileOf(layer));
        }
    }

    private async Task AddImageAsync(string name, string backing, bool isReadOnly = false)
    {
        var readOnly = isReadOnly ? "true" : "false";
        await AddNodeAsync($"{name}-file", $"""
            "driver": "file", "filename": "{FileOf(name)}", "read-only": {readOnly}
            """);
        await AddNodeAsync(name, $"""
            "driver": "qcow2", "file": "{name}-file", "backing": {backing}, "read-only": {readOnly}
            """);
    }

    private async Task BeginJobAsync(string device, string target, string more, string sync)
    {
        await RunAsync("blockdev-backup", $$"""
            {"job-id": "job0", "device": "{{device}}", "target": "{{target}}", "sync": "{{sync}}",
             "auto-finalize": true, "auto-dismiss": false{{more}}}
            """);
        _jobs.Add("job0");
    }

    // Waits for the end; returns the job's error, if it had one.
    private async Task<string?> EndJobAsync(string id, bool cancel = false)
    {
        for (var attempt = 0; ; attempt++)
        {
            var jobs = await hypervisor.ExecuteAsync("query-jobs", null, token);
            var job = jobs.EnumerateArray().First(job => job.GetProperty("id").GetString() == id);
            if (job.GetProperty("status").GetString() == "concluded")
            {
                await RunAsync("job-dismiss", $$"""{"id": "{{id}}"}""");
                _jobs.Remove(id);
                return job.TryGetProperty("error", out var error) ? error.GetString() : null;
            }

            if (cancel && attempt == 0)
            {
                await RunAsync("job-cancel", $$"""{"id": "{{id}}"}""");
            }

            ObjectDisposedException.ThrowIf(attempt > 500, this);
            await Task.Delay(TimeSpan.FromMilliseconds(10), token);
        }
    }

    // Exports, jobs and their nodes come free a moment after the reply.
    private async Task UntilAsync(Func<Task> act)
    {
        for (var attempt = 0; ; attempt++)
        {
            try
            {
                await act();
                return;
            }
            catch (InvalidOperationException exception)
                when (exception.Message.Contains("in use", StringComparison.Ordinal)
                    || exception.Message.Contains("busy", StringComparison.Ordinal))
            {
                if (attempt > 300)
                {
                    throw;
                }

                await Task.Delay(TimeSpan.FromMilliseconds(10), token);
            }
            catch (InvalidOperationException exception)
                when (exception.Message.Contains("ind node", StringComparison.OrdinalIgnoreCase)
                    || exception.Message.Contains("ot found", StringComparison.Ordinal))
            {
                // A node that was never made: the case ended before.
                return;
            }
        }
    }

    private Task<JsonElement> RunAsync(string command, string arguments) =>
        hypervisor.ExecuteAsync(command, JsonNode.Parse(arguments)!.AsObject(), token);

    private static async Task<List<(long Offset, long Length)>> ExtentsAsync(
        string program, string[] arguments, string offset, Func<JsonElement, bool> counts)
    {
        using var json = JsonDocument.Parse(await Tool.RunOkAsync(program, arguments));
        List<(long Offset, long Length)> found = [];
        foreach (var extent in json.RootElement.EnumerateArray().Where(counts))
        {
            var (at, length) = (extent.GetProperty(offset).GetInt64(), extent.GetProperty("length").GetInt64());
            if (found.Count > 0 && found[^1].Offset + found[^1].Length == at)
            {
                found[^1] = (found[^1].Offset, found[^1].Length + length);
            }
            else
            {
                found.Add((at, length));
            }
        }

        return found;
    }
}
