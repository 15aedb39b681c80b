using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Tidemark.Blocks.Extents;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;
using Tidemark.Testing;
using Xunit;

namespace Tidemark.Engine.Tests.Interop;

/// <summary>What QEMU 7.2 finds in each image of a folder, in words that can be compared: its content through the
/// chain, which layer gives what, its backing file, and its bitmaps' dirty ranges.</summary>
internal static class ImageJudgement
{
    // The smallest cluster of the images.
    private const int Block = 4096;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    internal static async Task<string> OfAsync(string folder)
    {
        var said = new StringBuilder();
        await using var judge = await RealDaemon.StartAsync();
        foreach (var path in Directory.EnumerateFiles(folder).Where(path => Path.GetFileName(path) != "nbd").Order())
        {
            var name = Path.GetFileName(path);
            await Tool.RunOkAsync("qemu-img", "check", "-q", path);
            using var info = JsonDocument.Parse(await Tool.RunOkAsync("qemu-img", "info", "--output=json", path));
            var below = info.RootElement.TryGetProperty("backing-filename", out var backing)
                ? Path.GetFileName(backing.GetString()) : "nothing";
            var bytes = await ReadAsync(path);
            said.AppendLine($"{name} over {below}: {Convert.ToHexString(SHA256.HashData(bytes))}");
            said.AppendLine($"  {await MapAsync(path, bytes)}");
            await AppendBitmapsAsync(said, judge, path, info.RootElement);
        }

        return said.ToString();
    }

    private static async Task<byte[]> ReadAsync(string path)
    {
        var raw = path + ".raw";
        await Tool.RunOkAsync("qemu-img", "convert", "-O", "raw", path, raw);
        var bytes = await File.ReadAllBytesAsync(raw, Token);
        File.Delete(raw);
        return bytes;
    }

    // Which layer gives each block that is not zero. Where in the file a cluster lies is each one's own, and so is
    // whether zeroes are data, a cluster's flag or nothing at all: there QEMU's own versions differ.
    private static async Task<string> MapAsync(string path, byte[] bytes)
    {
        using var map = JsonDocument.Parse(await Tool.RunOkAsync("qemu-img", "map", "--output=json", path));
        List<(long Start, long End, string Layer)> runs = [];
        foreach (var one in map.RootElement.EnumerateArray())
        {
            var start = one.GetProperty("start").GetInt64();
            var end = start + one.GetProperty("length").GetInt64();
            for (var block = start; block < end; block += Block)
            {
                if (!bytes.AsSpan((int)block, (int)Math.Min(Block, end - block)).ContainsAnyExcept((byte)0))
                {
                    continue;
                }

                var layer = one.GetProperty("data").GetBoolean() ? $"{one.GetProperty("depth").GetInt32()}" : "none";
                if (runs.Count > 0 && runs[^1].Layer == layer && runs[^1].End == block)
                {
                    runs[^1] = runs[^1] with { End = block + Block };
                }
                else
                {
                    runs.Add((block, block + Block, layer));
                }
            }
        }

        return string.Join(' ', runs.Select(run => $"{run.Start / Block}-{run.End / Block}:{run.Layer}"));
    }

    private static async Task AppendBitmapsAsync(
        StringBuilder said, RealDaemon judge, string path, JsonElement info)
    {
        if (!info.GetProperty("format-specific").GetProperty("data").TryGetProperty("bitmaps", out var bitmaps))
        {
            return;
        }

        foreach (var bitmap in bitmaps.EnumerateArray().OrderBy(one => one.GetProperty("name").GetString()))
        {
            var name = bitmap.GetProperty("name").GetString()!;
            said.AppendLine(
                $"  {name}, {bitmap.GetProperty("granularity")}, {bitmap.GetProperty("flags")}: "
                + string.Join(' ', await DirtyAsync(judge, path, name)));
        }
    }

    private static async Task<List<string>> DirtyAsync(RealDaemon judge, string path, string bitmap)
    {
        var socket = Path.Combine(judge.Folder, "nbd");
        await judge.DoAsync("blockdev-add", $$$"""
            {"driver":"qcow2","node-name":"look","read-only":true,"backing":null,
             "file":{"driver":"file","filename":"{{{path}}}","read-only":true}}
            """);
        await judge.DoAsync("nbd-server-start", new JsonObject
        {
            ["addr"] = new JsonObject { ["type"] = "unix", ["data"] = new JsonObject { ["path"] = socket } },
        }.ToJsonString());
        await judge.DoAsync(
            "block-export-add", $$"""{"type":"nbd","id":"e","node-name":"look","bitmaps":["{{bitmap}}"]}""");
        var context = $"qemu:dirty-bitmap:{bitmap}";
        List<string> dirty = [];
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Token);
        limit.CancelAfter(TimeSpan.FromSeconds(60));
        await using (var client = await NbdNode.ConnectAsync(
            "look",
            NbdEndPoint.ForUnix(socket),
            new NbdNodeOptions { ExportName = "look", MetaContexts = [context] },
            limit.Token))
        {
            var extents = new ExtentList();
            await client.GetMetaContextExtentsAsync(context, 0, client.Length, extents, limit.Token);
            dirty.AddRange(extents.Where(one => one.IsDirty)
                .Select(one => $"{one.Offset >> 16}+{(one.Length + 65535) >> 16}"));
        }

        await judge.DoAsync("nbd-server-stop", "{}");
        await judge.DeleteNodeAsync("look");
        return dirty;
    }
}
