using System.Globalization;
using System.Text.Json;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Cli.Nbd;

/// <summary>What a server says of itself as nbdinfo prints it: the same fields in the same order, but for
/// <c>content</c>, which needs another program to guess.</summary>
internal static class ServerReport
{
    private const string Units = "KMGTPE";

    /// <summary>Writes the object that <c>nbdinfo --json --no-content</c> prints.</summary>
    public static void WriteJson(Utf8JsonWriter writer, NbdServerDescription server, NbdUri uri)
    {
        writer.WriteStartObject();
        writer.WriteString("protocol", Protocol(server));
        writer.WriteBoolean("TLS", server.IsEncrypted);
        writer.WriteBoolean("structured", server.HasStructuredReplies);
        writer.WriteStartArray("exports");
        foreach (var export in server.Exports)
        {
            WriteExport(writer, server, export, uri);
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
    }

    /// <summary>Writes the lines that nbdinfo prints without <c>--json</c>.</summary>
    public static void WriteText(TextWriter output, NbdServerDescription server, NbdUri uri)
    {
        output.WriteLine($"protocol: {Protocol(server)} {(server.IsEncrypted ? "with" : "without")} TLS, using "
            + $"{(server.HasStructuredReplies ? "structured" : "simple")} packets");
        foreach (var export in server.Exports)
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
            if (server.HasStructuredReplies)
            {
                output.WriteLine("\tcontexts:");
                foreach (var context in export.MetaContexts)
                {
                    output.WriteLine($"\t\t{context}");
                }
            }

            foreach (var (name, value) in Abilities(server, export))
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

    private static string Protocol(NbdServerDescription server) =>
        server.IsFixedNewstyle ? "newstyle-fixed" : "newstyle";

    private static void WriteExport(
        Utf8JsonWriter writer, NbdServerDescription server, NbdExportDescription export, NbdUri uri)
    {
        writer.WriteStartObject();
        writer.WriteString("export-name", export.Name);
        if (export.Description.Length > 0)
        {
            writer.WriteString("description", export.Description);
        }

        writer.WriteString("uri", (uri with { ExportName = export.Name }).ToString());
        if (server.HasStructuredReplies)
        {
            writer.WriteStartArray("contexts");
            foreach (var context in export.MetaContexts)
            {
                writer.WriteStringValue(context);
            }

            writer.WriteEndArray();
        }

        foreach (var (name, value) in Abilities(server, export))
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

    private static IEnumerable<(string Name, bool Value)> Abilities(
        NbdServerDescription server, NbdExportDescription export)
    {
        bool Has(NbdTransmissionFlags flag) => (export.Flags & flag) != 0;
        yield return ("is_rotational", Has(NbdTransmissionFlags.Rotational));
        yield return ("is_read_only", Has(NbdTransmissionFlags.ReadOnly));
        yield return ("can_cache", Has(NbdTransmissionFlags.SendCache));
        yield return ("can_df", server.HasStructuredReplies && Has(NbdTransmissionFlags.SendDontFragment));
        yield return ("can_fast_zero", Has(NbdTransmissionFlags.SendFastZero));
        yield return ("can_flush", Has(NbdTransmissionFlags.SendFlush));
        yield return ("can_fua", Has(NbdTransmissionFlags.SendFua));
        yield return ("can_multi_conn", Has(NbdTransmissionFlags.CanMultiConnection));
        yield return ("can_trim", Has(NbdTransmissionFlags.SendTrim));
        yield return ("can_zero", Has(NbdTransmissionFlags.SendWriteZeroes));
    }

    private static IEnumerable<(string Name, long Value)> Sizes(NbdExportDescription export)
    {
        if (export.HasBlockSizes)
        {
            yield return ("block_size_minimum", export.MinimumBlockSize);
            yield return ("block_size_preferred", export.PreferredBlockSize);
            yield return ("block_size_maximum", export.MaximumBlockSize);
        }
    }
}
