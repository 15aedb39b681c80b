using System.Globalization;
using System.Text.Json;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Cli.Nbd;

/// <summary>A survey of a server as nbdinfo prints it: the same fields in the same order, but for <c>content</c>, which
/// needs another program to guess.</summary>
internal static class SurveyReport
{
    private const string Units = "KMGTPE";

    /// <summary>Writes the object that <c>nbdinfo --json --no-content</c> prints.</summary>
    public static void WriteJson(Utf8JsonWriter writer, NbdServerSurvey survey, NbdUri uri)
    {
        writer.WriteStartObject();
        writer.WriteString("protocol", Protocol(survey));
        writer.WriteBoolean("TLS", false);
        writer.WriteBoolean("structured", survey.HasStructuredReplies);
        writer.WriteStartArray("exports");
        foreach (var export in survey.Exports)
        {
            WriteExport(writer, survey, export, uri);
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
    }

    /// <summary>Writes the lines that nbdinfo prints without <c>--json</c>.</summary>
    public static void WriteText(TextWriter output, NbdServerSurvey survey, NbdUri uri)
    {
        output.WriteLine($"protocol: {Protocol(survey)} without TLS, using "
            + $"{(survey.HasStructuredReplies ? "structured" : "simple")} packets");
        foreach (var export in survey.Exports)
        {
            output.WriteLine($"export=\"{JsonEncodedText.Encode(
                export.Name, System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping)}\":");
            if (export.Description.Length > 0)
            {
                output.WriteLine($"\tdescription: {export.Description}");
            }

            var size = SizeText(export.Length);
            output.WriteLine(char.IsAsciiDigit(size[^1])
                ? string.Create(CultureInfo.InvariantCulture, $"\texport-size: {export.Length}")
                : string.Create(CultureInfo.InvariantCulture, $"\texport-size: {export.Length} ({size})"));
            output.WriteLine($"\turi: {(uri with { ExportName = export.Name })}");
            if (export.Contexts is { } contexts)
            {
                output.WriteLine("\tcontexts:");
                foreach (var context in contexts)
                {
                    output.WriteLine($"\t\t{context}");
                }
            }

            foreach (var (name, value) in Abilities(survey, export))
            {
                output.WriteLine($"\t{name}: {(value ? "true" : "false")}");
            }

            foreach (var (name, value) in Sizes(export))
            {
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"\t{name}: {value}"));
            }
        }
    }

    /// <summary>A size in the largest unit that divides it: <c>4M</c>, <c>1536K</c>, <c>1000</c>.</summary>
    internal static string SizeText(long bytes)
    {
        var unit = -1;
        while (bytes != 0 && (bytes & 1023) == 0)
        {
            bytes >>= 10;
            unit++;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{bytes}{(unit < 0 ? "" : Units[unit])}");
    }

    private static string Protocol(NbdServerSurvey survey) => survey.IsFixedNewstyle ? "newstyle-fixed" : "newstyle";

    private static void WriteExport(
        Utf8JsonWriter writer, NbdServerSurvey survey, NbdExportDetails export, NbdUri uri)
    {
        writer.WriteStartObject();
        writer.WriteString("export-name", export.Name);
        if (export.Description.Length > 0)
        {
            writer.WriteString("description", export.Description);
        }

        writer.WriteString("uri", (uri with { ExportName = export.Name }).ToString());
        if (export.Contexts is { } contexts)
        {
            writer.WriteStartArray("contexts");
            foreach (var context in contexts)
            {
                writer.WriteStringValue(context);
            }

            writer.WriteEndArray();
        }

        foreach (var (name, value) in Abilities(survey, export))
        {
            writer.WriteBoolean(name, value);
        }

        foreach (var (name, value) in Sizes(export))
        {
            writer.WriteNumber(name, value);
        }

        writer.WriteNumber("export-size", export.Length);
        writer.WriteString("export-size-str", SizeText(export.Length));
        writer.WriteEndObject();
    }

    private static IEnumerable<(string Name, bool Value)> Abilities(NbdServerSurvey survey, NbdExportDetails export)
    {
        bool Has(NbdTransmissionFlags flag) => (export.Flags & flag) != 0;
        yield return ("is_rotational", Has(NbdTransmissionFlags.Rotational));
        yield return ("is_read_only", Has(NbdTransmissionFlags.ReadOnly));
        yield return ("can_cache", Has(NbdTransmissionFlags.SendCache));
        yield return ("can_df", survey.HasStructuredReplies && Has(NbdTransmissionFlags.SendDontFragment));
        yield return ("can_fast_zero", Has(NbdTransmissionFlags.SendFastZero));
        yield return ("can_flush", Has(NbdTransmissionFlags.SendFlush));
        yield return ("can_fua", Has(NbdTransmissionFlags.SendFua));
        yield return ("can_multi_conn", Has(NbdTransmissionFlags.CanMultiConnection));
        yield return ("can_trim", Has(NbdTransmissionFlags.SendTrim));
        yield return ("can_zero", Has(NbdTransmissionFlags.SendWriteZeroes));
    }

    private static IEnumerable<(string Name, long Value)> Sizes(NbdExportDetails export)
    {
        if (export.BlockSizes is { } sizes)
        {
            yield return ("block_size_minimum", sizes.Minimum);
            yield return ("block_size_preferred", sizes.Preferred);
            yield return ("block_size_maximum", sizes.Maximum);
        }
    }
}
