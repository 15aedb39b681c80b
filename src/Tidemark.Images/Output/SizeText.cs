using System.Globalization;

namespace Tidemark.Images.Output;

/// <summary>Sizes as qemu-img reads and shows them: binary units.</summary>
public static class SizeText
{
    private const string Suffixes = "bkmgtpe";

    private static readonly string[] s_units = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

    /// <summary>Three digits that count and a unit: <c>1 MiB</c>, <c>1.5 GiB</c>.</summary>
    public static string Format(long bytes)
    {
        // From 1000 on the next unit is used, so that three digits are enough.
        var unit = 0;
        while (unit < s_units.Length - 1 && bytes / (double)(1L << (unit * 10)) >= 1000)
        {
            unit++;
        }

        // C's rounding: a number in the middle goes to the even digit.
        var value = bytes / (double)(1L << (unit * 10));
        var decimals = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3;
        value = Math.Round(value, decimals, MidpointRounding.ToEven);
        var number = value.ToString("G3", CultureInfo.InvariantCulture);
        return $"{number.Replace("E+", "e+", StringComparison.Ordinal)} {s_units[unit]}B";
    }

    /// <summary>Reads a size: a number, decimal or 0x hexadecimal, with one of the suffixes b, k, M, G, T, P, E (each
    /// 1024 times the one before). A fraction of a unit is rounded down to whole bytes.</summary>
    /// <returns>False when it is no size or is beyond 2^63.</returns>
    public static bool TryParse(string text, out long bytes)
    {
        bytes = 0;
        if (text.StartsWith("0x", StringComparison.OrdinalIgnoreCase))
        {
            return TryParseHex(text.AsSpan(2), out bytes);
        }

        var unit = text.Length == 0 ? -1 : Suffixes.IndexOf(char.ToLowerInvariant(text[^1]), StringComparison.Ordinal);
        var number = unit >= 0 ? text[..^1] : text;
        if (number.Length == 0 || number.StartsWith('.') || !decimal.TryParse(
            number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value))
        {
            return false;
        }

        var factor = 1L << (10 * Math.Max(unit, 0));
        if (value > long.MaxValue / (decimal)factor || (unit <= 0 && value != Math.Floor(value)))
        {
            return false;
        }

        bytes = (long)(value * factor);
        return true;
    }

    // A unit after hexadecimal digits would be ambiguous (b and e are digits): none is taken.
    private static bool TryParseHex(ReadOnlySpan<char> digits, out long bytes) =>
        long.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out bytes) && bytes >= 0;
}
