using System.Globalization;
using System.Text;

namespace Tidemark.Repository.Snapshots;

/// <summary>
/// The names of files and directories. restic quotes names as Go's <c>strconv.Quote</c> does before it writes them
/// (doc/design.rst, "Trees and Data"); names that we write need no quotes, the others are refused.
/// </summary>
internal static class EntryName
{
    private const int MaximumLength = 200;

    /// <summary>Refuses a name that is no plain file name.</summary>
    /// <param name="name">The name of a VM, a disk or a small file.</param>
    /// <param name="what">Which of them it is, for the message.</param>
    internal static void Check(string name, string what)
    {
        var plain = name.Length > 0 && name is not ("." or "..") && Encoding.UTF8.GetByteCount(name) <= MaximumLength
            && name.All(static character => char.IsAscii(character)
                ? character is >= ' ' and <= '~' and not ('"' or '\\' or '/')
                : char.IsLetterOrDigit(character));
        if (!plain)
        {
            throw new RepositoryException(
                RepositoryErrorKind.Invalid,
                $"'{name}' cannot be the name of a {what}: it must be a file name of at most {MaximumLength} "
                + "bytes, without "
                + "'/', '\"', '\\' and control characters");
        }
    }

    /// <summary>Escapes what Go's JSON encoder escapes of a name that passed <see cref="Check"/>.</summary>
    internal static string Escape(string name) => name
        .Replace("&", "\\u0026", StringComparison.Ordinal)
        .Replace("<", "\\u003c", StringComparison.Ordinal)
        .Replace(">", "\\u003e", StringComparison.Ordinal);

    /// <summary>Undoes <c>strconv.Quote</c>. Bytes that are no UTF-8 become replacement characters.</summary>
    internal static string Unquote(string quoted)
    {
        if (!quoted.Contains('\\', StringComparison.Ordinal))
        {
            return quoted;
        }

        var bytes = new List<byte>(quoted.Length);
        for (var at = 0; at < quoted.Length; at++)
        {
            if (quoted[at] != '\\' || at + 1 == quoted.Length)
            {
                bytes.AddRange(Encoding.UTF8.GetBytes(quoted, at, 1));
                continue;
            }

            at++;
            var digits = quoted[at] switch { 'x' => 2, 'u' => 4, 'U' => 8, _ => 0 };
            if (digits > 0 && at + digits < quoted.Length
                && uint.TryParse(
                    quoted.AsSpan(at + 1, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture,
                    out var value))
            {
                bytes.AddRange(digits == 2
                    ? [(byte)value]
                    : Encoding.UTF8.GetBytes(Rune.TryCreate(value, out var rune) ? rune.ToString() : "\uFFFD"));
                at += digits;
                continue;
            }

            bytes.Add(quoted[at] switch
            {
                'a' => 7,
                'b' => 8,
                'f' => 12,
                'n' => 10,
                'r' => 13,
                't' => 9,
                'v' => 11,
                var other => (byte)other,
            });
        }

        return Encoding.UTF8.GetString(bytes.ToArray());
    }
}
