namespace Tidemark.Backup.Definitions;

/// <summary>The rule for names of disks: they become file names in a snapshot and in a restore's directory.</summary>
public static class DiskName
{
    /// <summary>The longest name, in characters.</summary>
    public const int MaximumLength = 200;

    /// <summary>Why a text is no name for a disk, or null when it is one.</summary>
    public static string? Refuse(string name)
    {
        if (name.Length is 0 or > MaximumLength)
        {
            return $"a disk's name has 1 to {MaximumLength} characters, not {name.Length}";
        }

        if (name is "." or "..")
        {
            return $"'{name}' is no name for a disk";
        }

        foreach (var character in name)
        {
            if (character == '/' || char.IsControl(character))
            {
                return $"the disk's name '{name}' holds a slash or a control character";
            }
        }

        return null;
    }
}
