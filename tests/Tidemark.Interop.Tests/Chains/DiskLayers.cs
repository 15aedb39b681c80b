using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Interop.Tests.Hypervisors;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Interop.Tests.Chains;

/// <summary>
/// The images of the disks, and what a user does to them under a running guest: external snapshots and active commits,
/// with the commands and the bitmaps that libvirt sends for them.
/// </summary>
internal sealed class DiskLayers(Hypervisor hypervisor, string folder)
{
    private const string ActiveWrites = "libvirt-tmp-activewrite";

    // Per disk, lowest first: the image and the node that shows it; a node is null where QEMU named it.
    private readonly List<(string Path, string? Node)>[] _layers =
        [.. Enumerable.Range(0, hypervisor.DiskCount).Select(_ => new List<(string Path, string? Node)>())];

    private int _snapshots;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>The node that the guest writes to.</summary>
    public string Active(int disk) => _layers[disk][^1].Node!;

    /// <summary>How many images a disk consists of.</summary>
    public int Depth(int disk) => _layers[disk].Count;

    /// <summary>Three images over one another, each with data of its own; returns what the guest reads.</summary>
    public async Task<byte[]> CreateAsync(int disk, long length)
    {
        Directory.CreateDirectory(folder);
        var name = Hypervisor.DiskName(disk);
        string? below = null;
        foreach (var (layer, index) in new[] { "base", "middle", "top" }.Select((layer, index) => (layer, index)))
        {
            var path = Path.Combine(folder, $"{name}-{layer}.qcow2");
            await CreateImageAsync(path, below, length);
            await Tool.RunOkAsync(
                "qemu-io", "-c", $"write -q -P {200 + (10 * disk) + index} {1 + (2 * index)}M {3 - index}M", path);
            _layers[disk].Add((path, null));
            below = path;
        }

        hypervisor.SetDiskPath(disk, below!);
        _layers[disk][^1] = (below!, name);
        var raw = below + ".raw";
        await Tool.RunOkAsync("qemu-img", "convert", "-O", "raw", below!, raw);
        var bytes = await File.ReadAllBytesAsync(raw, Token);
        File.Delete(raw);
        return bytes;
    }

    /// <summary>The hypervisor is about to start again: the top image gets the disk's own node name.</summary>
    public void Restarting()
    {
        for (var disk = 0; disk < _layers.Length; disk++)
        {
            var layers = _layers[disk];
            for (var index = 0; index < layers.Count; index++)
            {
                layers[index] = (layers[index].Path, null);
            }

            layers[^1] = (layers[^1].Path, Hypervisor.DiskName(disk));
            hypervisor.SetDiskPath(disk, layers[^1].Path);
        }
    }

    /// <summary>An external snapshot of all disks at one instant; every recording bitmap goes on, empty.</summary>
    public async Task SnapshotAsync(long length)
    {
        var generation = ++_snapshots;
        var bitmaps = await hypervisor.BitmapsAsync(Token);
        var actions = new JsonArray();
        for (var disk = 0; disk < _layers.Length; disk++)
        {
            var (below, active) = (_layers[disk][^1].Path, Active(disk));
            var node = $"{Hypervisor.DiskName(disk)}-snap{generation}";
            var path = Path.Combine(folder, $"{node}.qcow2");
            await CreateImageAsync(path, below, length);
            await RunAsync("blockdev-add", new JsonObject
            {
                ["driver"] = "file", ["node-name"] = $"{node}-file", ["filename"] = path,
            });
            await RunAsync("blockdev-add", new JsonObject
            {
                ["driver"] = "qcow2", ["node-name"] = node, ["file"] = $"{node}-file", ["backing"] = null,
            });
            foreach (var bitmap in bitmaps.Where(bitmap =>
                bitmap.Node == active && bitmap is { Persistent: true, Recording: true }).DistinctBy(one => one.Name))
            {
                actions.Add((JsonNode)Action("block-dirty-bitmap-add", new JsonObject
                {
                    ["node"] = node, ["name"] = bitmap.Name, ["persistent"] = true, ["disabled"] = false,
                }));
            }

            actions.Add((JsonNode)Action("blockdev-snapshot", new JsonObject
            {
                ["node"] = active, ["overlay"] = node,
            }));
            _layers[disk].Add((path, node));
        }

        await RunAsync("transaction", new JsonObject { ["actions"] = actions });
    }

    /// <summary>The active layer of every disk is written into the one below it, then the active one.</summary>
    /// <param name="meanwhile">What happens while the jobs are ready and not yet completed.</param>
    public async Task CommitAsync(Func<Task> meanwhile)
    {
        for (var disk = 0; disk < _layers.Length; disk++)
        {
            await RunAsync("block-commit", new JsonObject
            {
                ["job-id"] = $"commit{disk}", ["device"] = Active(disk), ["base-node"] = _layers[disk][^2].Node,
                ["auto-finalize"] = true, ["auto-dismiss"] = false,
            });
        }

        for (var disk = 0; disk < _layers.Length; disk++)
        {
            await JobIsAsync($"commit{disk}", "ready");
        }

        await meanwhile();
        for (var disk = 0; disk < _layers.Length; disk++)
        {
            await CompleteCommitAsync(disk);
        }
    }

    private async Task CompleteCommitAsync(int disk)
    {
        var (overlay, below) = (Active(disk), _layers[disk][^2].Node!);
        await RunAsync("block-dirty-bitmap-add", new JsonObject
        {
            ["node"] = below, ["name"] = ActiveWrites, ["persistent"] = false, ["disabled"] = false,
        });
        await RunAsync("job-complete", new JsonObject { ["id"] = $"commit{disk}" });
        await JobIsAsync($"commit{disk}", "concluded");
        await RunAsync("job-dismiss", new JsonObject { ["id"] = $"commit{disk}" });

        var bitmaps = await hypervisor.BitmapsAsync(Token);
        var actions = new JsonArray();
        foreach (var name in bitmaps.Where(one => one.Node == overlay).Select(one => one.Name).Distinct())
        {
            if (!bitmaps.Exists(one => one.Node == below && one.Name == name))
            {
                actions.Add((JsonNode)Action("block-dirty-bitmap-add", new JsonObject
                {
                    ["node"] = below, ["name"] = name, ["persistent"] = true, ["disabled"] = false,
                }));
            }

            actions.Add((JsonNode)Action("block-dirty-bitmap-merge", new JsonObject
            {
                ["node"] = below, ["target"] = name,
                ["bitmaps"] = new JsonArray(
                    new JsonObject { ["node"] = overlay, ["name"] = name },
                    new JsonObject { ["node"] = below, ["name"] = ActiveWrites }),
            }));
        }

        actions.Add((JsonNode)Action("block-dirty-bitmap-remove", new JsonObject
        {
            ["node"] = below, ["name"] = ActiveWrites,
        }));
        await RunAsync("transaction", new JsonObject { ["actions"] = actions });
        await RunAsync("blockdev-del", new JsonObject { ["node-name"] = overlay });
        await RunAsync("blockdev-del", new JsonObject { ["node-name"] = $"{overlay}-file" });
        File.Delete(_layers[disk][^1].Path);
        _layers[disk].RemoveAt(_layers[disk].Count - 1);
    }

    private static Task CreateImageAsync(string path, string? backing, long length) =>
        Tool.RunOkAsync("qemu-img",
        [
            "create", "-q", "-f", "qcow2", .. backing is null ? [] : new[] { "-b", backing, "-F", "qcow2" }, path,
            $"{length}",
        ]);

    private static JsonObject Action(string type, JsonObject data) => new() { ["type"] = type, ["data"] = data };

    private async Task JobIsAsync(string id, string status)
    {
        for (var attempt = 0; attempt < 1500; attempt++)
        {
            var jobs = await hypervisor.ExecuteAsync("query-jobs", null, Token);
            var job = jobs.EnumerateArray().First(job => job.GetProperty("id").GetString() == id);
            if (job.TryGetProperty("error", out var error))
            {
                throw new InvalidOperationException($"job {id}: {error.GetString()}");
            }

            if (job.GetProperty("status").GetString() == status)
            {
                return;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(20), Token);
        }

        throw new TimeoutException($"job {id} was not {status} in time");
    }

    private Task<JsonElement> RunAsync(string command, JsonObject arguments) =>
        hypervisor.ExecuteAsync(command, arguments, Token);
}
