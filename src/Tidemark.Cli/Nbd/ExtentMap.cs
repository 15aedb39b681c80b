using System.Globalization;
using System.Text.Json;
using Tidemark.Nbd.Client;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Cli.Nbd;

/// <summary>What one metadata context says of a whole export, and its two reports in nbdinfo's form.</summary>
internal sealed class ExtentMap
{
    private readonly string _context;
    private readonly long _length;
    private readonly List<NbdExtent> _extents;

    private ExtentMap(string context, long length, List<NbdExtent> extents)
    {
        _context = context;
        _length = length;
        _extents = extents;
    }

    /// <summary>Asks the server; neighbours that say the same are one extent.</summary>
    /// <exception cref="CliException">The server does not offer the context.</exception>
    public static async Task<ExtentMap> ReadAsync(NbdUri uri, string context, CancellationToken cancellationToken)
    {
        await using var client = await NbdClient.ConnectAsync(
            uri.EndPoint,
            NbdClientOptions.ForUri(uri, new NbdClientOptions { MetaContexts = [context] }),
            cancellationToken);
        if (!client.MetaContexts.Contains(context))
        {
            throw new CliException($"--map: the server does not offer the metadata context '{context}'");
        }

        List<NbdExtent> extents = [];
        await client.GetMetaContextAsync(context, 0, client.Length, extents, cancellationToken);
        return new ExtentMap(context, client.Length, extents);
    }

    /// <summary>A list of <c>offset</c>, <c>length</c>, <c>type</c>, <c>description</c>.</summary>
    public void WriteJson(Utf8JsonWriter writer)
    {
        writer.WriteStartArray();
        foreach (var (offset, length, type) in _extents)
        {
            writer.WriteStartObject();
            writer.WriteNumber("offset", offset);
            writer.WriteNumber("length", length);
            WriteType(writer, type);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
    }

    /// <summary>A list of <c>size</c>, <c>percent</c>, <c>type</c>, <c>description</c>.</summary>
    public void WriteTotalsJson(Utf8JsonWriter writer)
    {
        writer.WriteStartArray();
        foreach (var (type, size) in Totals())
        {
            writer.WriteStartObject();
            writer.WriteNumber("size", size);

            // Six digits that count, as nbdinfo has it.
            writer.WritePropertyName("percent");
            writer.WriteRawValue(Percent(size).ToString("G6", CultureInfo.InvariantCulture));
            WriteType(writer, type);
            writer.WriteEndObject();
        }

        writer.WriteEndArray();
    }

    /// <summary>One line for each extent.</summary>
    public void WriteText(TextWriter output)
    {
        foreach (var (offset, length, type) in _extents)
        {
            var line = string.Create(CultureInfo.InvariantCulture, $"{offset,10}  {length,10}  {type,3}");
            output.WriteLine(Describe(type) is { } words ? $"{line}  {words}" : line);
        }
    }

    /// <summary>One line for each kind of extent.</summary>
    public void WriteTotalsText(TextWriter output)
    {
        foreach (var (type, size) in Totals())
        {
            // Half is rounded to even, as printf does it.
            var percent = Math.Round(Percent(size), 1, MidpointRounding.ToEven);
            var line = string.Create(CultureInfo.InvariantCulture, $"{size,10} {percent,5:0.0}% {type,3}");
            output.WriteLine(Describe(type) is { } words ? $"{line} {words}" : line);
        }
    }

    private void WriteType(Utf8JsonWriter writer, ulong type)
    {
        writer.WriteNumber("type", type);
        if (Describe(type) is { } words)
        {
            writer.WriteString("description", words);
        }
    }

    private IEnumerable<(ulong Type, long Size)> Totals() => _extents
        .GroupBy(extent => extent.State)
        .OrderBy(group => group.Key)
        .Select(group => (group.Key, group.Sum(extent => extent.Length)));

    private double Percent(long size) => 100.0 * size / _length;

    private string? Describe(ulong type) => (_context, type) switch
    {
        (MetaContextNames.BaseAllocation, 0) => "data",
        (MetaContextNames.BaseAllocation, 1) => "hole",
        (MetaContextNames.BaseAllocation, 2) => "zero",
        (MetaContextNames.BaseAllocation, 3) => "hole,zero",
        _ when _context.StartsWith(MetaContextNames.DirtyBitmapPrefix, StringComparison.Ordinal) =>
            type switch { 0 => "clean", 1 => "dirty", _ => null },
        (MetaContextNames.AllocationDepth, 0) => "absent",
        (MetaContextNames.AllocationDepth, 1) => "local",
        (MetaContextNames.AllocationDepth, _) =>
            string.Create(CultureInfo.InvariantCulture, $"backing depth {type}"),
        _ => null,
    };
}
