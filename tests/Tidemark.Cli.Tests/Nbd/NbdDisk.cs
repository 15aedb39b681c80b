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
}
