using System.Globalization;
using System.Text;

namespace Tidemark.Interop.Tests.LinuxGuest;

/// <summary>An initramfs: a cpio archive in the "newc" format (Linux, <c>Documentation/driver-api/early-userspace/
/// buffer-format.rst</c>), uncompressed.</summary>
internal sealed class CpioArchive(Stream target)
{
    private const int Directory = 0x4000;
    private const int Regular = 0x8000;
    private const int CharacterDevice = 0x2000;

    private int _inode;

    public void AddDirectory(string path) => Add(path, Directory | 0x1ED, [], 0, 0);

    public void AddFile(string path, byte[] content) => Add(path, Regular | 0x1ED, content, 0, 0);

    public void AddDevice(string path, int major, int minor) =>
        Add(path, CharacterDevice | 0x180, [], major, minor);

    /// <summary>Ends the archive; the stream stays open.</summary>
    public void End() => Add("TRAILER!!!", 0, [], 0, 0);

    private void Add(string path, int mode, byte[] content, int major, int minor)
    {
        var name = Encoding.ASCII.GetBytes(path + "\0");
        int[] fields =
            [++_inode, mode, 0, 0, 1, 0, content.Length, 0, 0, major, minor, name.Length, 0];
        var numbers = fields.Select(field => field.ToString("X8", CultureInfo.InvariantCulture));
        var header = "070701" + string.Concat(numbers);
        target.Write(Encoding.ASCII.GetBytes(header));
        target.Write(name);
        Pad(header.Length + name.Length);
        target.Write(content);
        Pad(content.Length);
    }

    private void Pad(int length) => target.Write(new byte[(4 - (length % 4)) % 4]);
}
