using Tidemark.Testing;

namespace Tidemark.Cli.Tests.Nbd;

/// <summary>
/// A qcow2 image with a backing file: data below, data above, a zeroed cluster above data, holes, and the bitmap
/// <c>b0</c> with the writes to the upper image.
/// </summary>
internal static class NbdDisk
{
    public const long Length = 4 << 20;

    public static async Task<string> CreateAsync(TemporaryDirectory folder)
    {
        var (below, top) = (folder.File("base.qcow2"), folder.File("top.qcow2"));
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", below, $"{Length}");
        await Tool.RunOkAsync(
            "qemu-io", "-f", "qcow2", "-c", "write -P 1 0 1M", "-c", "write -P 1 3M 64k", below);
        await Tool.RunOkAsync("qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", top);
        await Tool.RunOkAsync("qemu-img", "bitmap", "--add", top, "b0");
        await Tool.RunOkAsync(
            "qemu-io", "-f", "qcow2", "-c", "write -P 2 2M 128k", "-c", "write -z 3M 64k", "-c", "write -z 3584k 64k",
            top);
        return top;
    }

    /// <summary>A chain of three images of 32 MiB with random data, zeroes and discards in each; <c>b0</c> is a bitmap
    /// of the top.</summary>
    public static async Task<string> CreateRandomAsync(TemporaryDirectory folder, Random random)
    {
        const int Clusters = 512;
        string? below = null;
        foreach (var name in new[] { "r0.qcow2", "r1.qcow2", "r2.qcow2" })
        {
            var path = folder.File(name);
            System.IO.File.Delete(path);
            await Tool.RunOkAsync(
                "qemu-img",
                below is null
                    ? ["create", "-q", "-f", "qcow2", path, "32M"]
                    : ["create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", path]);
            if (name == "r2.qcow2")
            {
                await Tool.RunOkAsync("qemu-img", "bitmap", "--add", path, "b0");
            }

            List<string> commands = [];
            for (var count = 0; count < 12; count++)
            {
                var at = random.Next(Clusters);
                var length = random.Next(1, Math.Min(40, Clusters - at) + 1);
                var what = random.Next(4) switch { 0 => "write -z", 1 => "discard", _ => "write -P 5" };
                commands.AddRange(["-c", $"{what} {at * 64}k {length * 64}k"]);
            }

            await Tool.RunOkAsync("qemu-io", ["-f", "qcow2", .. commands, path]);
            below = path;
        }

        return below!;
    }
}
