using System.Text.Json.Nodes;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Bench.Contests;

/// <summary>
/// Persistent bitmaps of a disk of 1 TiB: how long a storage daemon takes to open the image, which loads them, and to
/// close it, which stores them. The same requests to ours and to QEMU's, each with a copy of the image.
/// </summary>
internal static class ImageBitmapContests
{
    private const string Length = "1T";
    private const int Writes = 4096;
    private const long Step = 256L << 20;
    private const int WriteLength = 4 << 10;

    public static async Task RunAsync(Bench bench, string folder)
    {
        (int Count, int Granularity)[] cases = [(1, 64 << 10), (10, 64 << 10), (50, 64 << 10), (1, 4 << 10)];
        foreach (var (count, granularity) in cases)
        {
            var what = $"{count} of {granularity >> 10} KiB";
            if (bench.Wants($"image bitmaps load, {what}") || bench.Wants($"image bitmaps store, {what}"))
            {
                await RunAsync(bench, Path.Combine(folder, $"bitmaps-{count}-{granularity}"), what, count, granularity);
            }
        }
    }

    private static async Task RunAsync(Bench bench, string folder, string what, int count, int granularity)
    {
        await using var ours = await StartAsync(true, Path.Combine(folder, "ours"));
        await using var theirs = await StartAsync(false, Path.Combine(folder, "theirs"));
        await CreateAsync(theirs, count, granularity);
        await Programs.RunAsync("cp", "--sparse=always", ImageOf(theirs), ImageOf(ours));
        Contest load = new($"image bitmaps load, {what}", "s", 0);
        Contest store = new($"image bitmaps store, {what}", "s", 0);
        foreach (var daemon in new[] { ours, theirs })
        {
            var isOpen = false;
            async Task OpenAsync()
            {
                if (!isOpen)
                {
                    await AddAsync(daemon);
                    isOpen = true;
                }
            }

            async Task CloseAsync()
            {
                if (isOpen)
                {
                    await RemoveAsync(daemon);
                    isOpen = false;
                }
            }

            var who = daemon == ours ? "tidemark storage-daemon" : "QEMU storage daemon";
            load.Add(who, OpenAsync, CloseAsync, daemon.Id);
            store.Add(who, CloseAsync, OpenAsync, daemon.Id);
        }

        await bench.RunAsync(load);
        await bench.RunAsync(store);
    }

    private static string ImageOf(Daemon daemon) => Path.Combine(daemon.Folder, "bits.qcow2");

    private static async Task<Daemon> StartAsync(bool ours, string folder)
    {
        Directory.CreateDirectory(folder);
        var small = Path.Combine(folder, "small.raw");
        await Programs.RunAsync("truncate", "-s", "1M", small);
        return await Daemon.StartAsync(ours, folder, small, "raw");
    }

    // Every bitmap records the same scattered writes; the image itself stays sparse.
    private static async Task CreateAsync(Daemon daemon, int count, int granularity)
    {
        var path = ImageOf(daemon);
        await Programs.RunAsync("qemu-img", "create", "-q", "-f", "qcow2", path, Length);
        for (var index = 0; index < count; index++)
        {
            await Programs.RunAsync(
                "qemu-img", "bitmap", "--add", "-g", $"{granularity}", "-f", "qcow2", path, $"b{index}");
        }

        await AddAsync(daemon);
        await daemon.ExecuteAsync("block-export-add", new JsonObject
        {
            ["type"] = "nbd", ["id"] = "bits", ["node-name"] = "bits", ["name"] = "bits", ["writable"] = true,
        });
        await using (var guest = await NbdClient.ConnectAsync(
            NbdEndPoint.ForUnix(daemon.NbdPath), new NbdClientOptions { ExportName = "bits" }))
        {
            var data = new byte[WriteLength];
            for (long write = 0; write < Writes; write++)
            {
                await guest.WriteAsync(write * Step, data);
            }
        }

        await daemon.ExecuteAsync("block-export-del", new JsonObject { ["id"] = "bits", ["mode"] = "hard" });
        await RemoveAsync(daemon);
    }

    private static async Task AddAsync(Daemon daemon)
    {
        await daemon.ExecuteAsync("blockdev-add", new JsonObject
        {
            ["driver"] = "file", ["node-name"] = "bits-file", ["filename"] = ImageOf(daemon),
        });
        await daemon.ExecuteAsync("blockdev-add", new JsonObject
        {
            ["driver"] = "qcow2", ["node-name"] = "bits", ["file"] = "bits-file",
        });
    }

    private static async Task RemoveAsync(Daemon daemon)
    {
        await daemon.ExecuteAsync("blockdev-del", new JsonObject { ["node-name"] = "bits" });
        await daemon.ExecuteAsync("blockdev-del", new JsonObject { ["node-name"] = "bits-file" });
    }
}
