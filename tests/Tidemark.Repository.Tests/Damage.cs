namespace Tidemark.Repository.Tests;

/// <summary>Harm done to files of a repository.</summary>
internal static class Damage
{
    /// <summary>Changes one bit of a file.</summary>
    internal static void Flip(string path, long offset)
    {
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        using var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite);
        file.Position = offset;
        var value = file.ReadByte();
        file.Position = offset;
        file.WriteByte((byte)(value ^ 0x10));
    }

    /// <summary>Cuts the end of a file off.</summary>
    internal static void Cut(string path, long length)
    {
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        using var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite);
        file.SetLength(length);
    }

    /// <summary>All files below a folder of a repository.</summary>
    internal static string[] Files(TestRepository test, string folder) =>
        Directory.GetFiles(Path.Combine(test.Path, folder), "*", SearchOption.AllDirectories);
}
