using System.Globalization;

namespace Tidemark.Cli.Terminal;

/// <summary>Sizes as people write and read them: binary units both ways, as qemu-img has them.</summary>
internal static class ByteSize
{
    private const string Units = "BKMGTPE";

    /// <summary>Writes a size: <c>512 B</c>, <c>1.5 KiB</c>, <c>312 MiB</c>. Three digits that count.</summary>
    public static string Format(long bytes)
    {
        double value = bytes;
        var unit = 0;

        // 999.5 would be shown with four digits: it goes to the next unit.
        while (value >= 999.5 && unit < Units.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        if (unit == 0)
        {
            return string.Create(CultureInfo.InvariantCulture, $"{bytes} B");
        }

        var text = value.ToString(value < 99.95 ? "0.0" : "0", CultureInfo.InvariantCulture);
        return $"{text} {Units[unit]}iB";
    }

    /// <summary>Reads a size: a number with an optional unit K, M, G, T, P
    /// or E (or KiB, MiB …), each 1024 of the one before.</summary>
    /// <returns>False when it is no size, is negative, or is no whole number of bytes.</returns>
    public static bool TryParse(string text, out long bytes)
    {
        bytes = 0;
        var number = text.Trim();
        if (number.EndsWith("iB", StringComparison.OrdinalIgnoreCase))
        {
            number = number[..^2];
            if (number.Length == 0 || !char.IsAsciiLetter(number[^1]))
            {
                return false;
            }
        }

        var unit = number.Length == 0 ? -1 : Units.IndexOf(char.ToUpperInvariant(number[^1]), StringComparison.Ordinal);
        var factor = 1L << (10 * Math.Max(unit, 0));
        number = (unit >= 0 ? number[..^1] : number).TrimEnd();
        if (!decimal.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value)
            || value > long.MaxValue / factor)
        {
            return false;
        }

        value *= factor;
        bytes = (long)value;
        return value == bytes;
    }
}
