using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;

namespace Tidemark.Bench;

/// <summary>The results as a table of Markdown on standard output, and as JSON in a file.</summary>
internal static class Report
{
    private const double Million = 1e6;

    public static void PrintHead(BenchOptions options)
    {
        Console.WriteLine(
            $"disk of {options.DiskLength >> 20} MiB, half of it data; {options.Repetitions} repetitions; "
            + $"{Programs.Kind}; {Machine()}");
        Console.WriteLine();
        Console.WriteLine("| contest | who | median | min..max | MB/s | cpu s | ours / peer |");
        Console.WriteLine("|---|---|---|---|---|---|---|");
    }

    /// <summary>
    /// The rows of one contest. The ratio stands beside each peer and is always so that less is better for us: our time
    /// over theirs, or their rate over ours.
    /// </summary>
    public static void Print(IReadOnlyList<Result> results)
    {
        var ours = results.First(result => result.Who.StartsWith("tidemark", StringComparison.Ordinal));
        foreach (var result in results)
        {
            var rate = result.Bytes > 0 ? Text(result.Bytes / Million / result.Median) : "";
            var ratio = result.Who.StartsWith("tidemark", StringComparison.Ordinal)
                ? ""
                : Text(result.Unit == "s" ? ours.Median / result.Median : result.Median / ours.Median);
            Console.WriteLine($"| {result.Contest} | {result.Who} | {Text(result.Median)} {result.Unit} "
                + $"| {Text(result.Figures.Min())}..{Text(result.Figures.Max())} | {rate} "
                + $"| {Text(result.Processor)} | {ratio} |");
        }
    }

    public static string Write(BenchOptions options, IReadOnlyList<Result> results)
    {
        Directory.CreateDirectory(options.ResultFolder);
        var now = DateTimeOffset.UtcNow;
        var path = Path.Combine(options.ResultFolder, $"{now:yyyyMMdd-HHmmss}.json");
        using var stream = File.Create(path);
        using var writer = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
        writer.WriteStartObject();
        writer.WriteString("time", now);
        writer.WriteString("machine", Machine());
        writer.WriteString("program", Programs.Kind);
        writer.WriteNumber("disk_bytes", options.DiskLength);
        writer.WriteStartArray("results");
        foreach (var result in results)
        {
            writer.WriteStartObject();
            writer.WriteString("contest", result.Contest);
            writer.WriteString("who", result.Who);
            writer.WriteString("unit", result.Unit);
            writer.WriteNumber("bytes", result.Bytes);
            writer.WriteNumber("median", result.Median);
            WriteNumbers(writer, "figures", result.Figures);
            WriteNumbers(writer, "cpu_seconds", result.ProcessorSeconds);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
        writer.WriteEndObject();
        return path;
    }

    private static void WriteNumbers(Utf8JsonWriter writer, string name, IEnumerable<double> values)
    {
        writer.WriteStartArray(name);
        foreach (var value in values)
        {
            writer.WriteNumberValue(Math.Round(value, 4));
        }

        writer.WriteEndArray();
    }

    private static string Text(double value) => value switch
    {
        >= 1000 => value.ToString("#,0", CultureInfo.InvariantCulture),
        >= 100 => value.ToString("0", CultureInfo.InvariantCulture),
        >= 1 => value.ToString("0.0#", CultureInfo.InvariantCulture),
        _ => value.ToString("0.###", CultureInfo.InvariantCulture),
    };

    private static string Machine()
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{Environment.ProcessorCount} cores");
        var model = File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name"));
        text.Append(model is null ? "" : $" ({model.Split(':')[1].Trim()})");
        var load = File.ReadAllText("/proc/loadavg").Split(' ')[0];
        text.Append(CultureInfo.InvariantCulture, $", {RuntimeInformation.OSDescription}, load at the start {load}");
        return text.ToString();
    }
}
