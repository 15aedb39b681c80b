using System.Globalization;
using System.Text;

namespace Tidemark.Repository.Snapshots;

/// <summary>Times as Go's <c>encoding/json</c> writes them (RFC 3339 with the fraction's trailing zeros cut).</summary>
internal static class GoTime
{
    /// <summary>Writes a time in UTC.</summary>
    internal static string Format(DateTimeOffset time)
    {
        var text = time.UtcDateTime.ToString("yyyy-MM-ddTHH:mm:ss.fffffff", CultureInfo.InvariantCulture);
        return text.TrimEnd('0').TrimEnd('.') + "Z";
    }

    /// <summary>Reads a time with up to nine digits of fraction; what is finer than 100 ns is cut.</summary>
    internal static bool TryParse(string? text, out DateTimeOffset time)
    {
        time = default;
        if (text is null)
        {
            return false;
        }

        // The runtime reads at most seven digits of fraction.
        var cut = new StringBuilder(text.Length);
        var digits = -1;
        foreach (var character in text)
        {
            digits = character == '.' ? 0 : digits >= 0 && char.IsAsciiDigit(character) ? digits + 1 : -1;
            if (digits <= 7)
            {
                cut.Append(character);
            }
        }

        return DateTimeOffset.TryParse(
            cut.ToString(), CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out time);
    }
}
