using System.Text;

namespace Tidemark.Backup.Definitions;

/// <summary>The rule for names of disks: they become file names in a snapshot and in a restore's directory.</summary>
public static class DiskName
{
    /// <summary>The longest name, in UTF-8 bytes.</summary>
    public const int MaximumLength = 190;

    /// <summary>Why a text is no name for a disk, or null when it is one.</summary>
    public static string? Refuse(string name)
    {
        var length = Encoding.UTF8.GetByteCount(name);
        if (length is 0 or > MaximumLength)
        {
            return $"a disk's name has 1 to {MaximumLength} bytes, not {length}";
        }

        if (name is "." or "..")
        {
            return $"'{name}' is no name for a disk";
        }

        foreach (var character in name)
        {
            var plain = char.IsAscii(character)
                ? character is >= ' ' and <= '~' and not ('/' or '"' or '\\')
                : char.IsLetterOrDigit(character);
            if (!plain)
            {
                return $"the disk's name '{name}' holds a character that file names should not";
            }
        }

        return null;
    }
}
