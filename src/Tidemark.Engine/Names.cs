namespace Tidemark.Engine;

/// <summary>The names that people give to nodes, jobs and exports: QEMU's <c>id_wellformed</c>.</summary>
internal static class Names
{
    /// <summary>The longest node name in bytes (qapi/block-core.json: a name has at most 31 characters).</summary>
    internal const int MaximumNodeName = 31;

    /// <summary>A letter first, then letters, digits and <c>-._</c>.</summary>
    internal static bool IsWellFormed(string name)
    {
        if (name.Length == 0 || !char.IsAsciiLetter(name[0]))
        {
            return false;
        }

        foreach (var letter in name)
        {
            if (!char.IsAsciiLetterOrDigit(letter) && letter is not ('-' or '.' or '_'))
            {
                return false;
            }
        }

        return true;
    }
}
