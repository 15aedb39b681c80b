using System.Globalization;
using System.Text;
using Tidemark.Images.HostFiles;
using Tidemark.Images.Opening;
using Tidemark.Images.Output;
using Tidemark.Qcow2;
using Tidemark.Qcow2.Format;

namespace Tidemark.Images.Describing;

/// <summary>What an image says of itself, in the words of <c>qemu-img info</c>. Only its headers and tables are read: a
/// backing file or data file that is missing is no hindrance.</summary>
public sealed class ImageInfo
{
    private const ulong NanosecondsPerSecond = 1_000_000_000;

    private readonly ImageLayer _layer;
    private readonly long? _allocated;
    private readonly IReadOnlyList<InternalSnapshot> _snapshots;
    private readonly IReadOnlyList<StoredBitmapInfo> _bitmaps;

    private readonly string? _bitmapsProblem;

    private ImageInfo(
        ImageLayer layer, IReadOnlyList<InternalSnapshot> snapshots, IReadOnlyList<StoredBitmapInfo> bitmaps,
        string? bitmapsProblem)
    {
        _layer = layer;
        _bitmapsProblem = bitmapsProblem;
        _snapshots = snapshots;
        _bitmaps = bitmaps;
        _allocated = layer.Path is { } path ? HostFile.AllocatedLength(path) : null;
    }

    /// <summary>What is wrong with the image's bitmaps, one line each.</summary>
    public IEnumerable<string> Problems => _bitmaps
        .Where(bitmap => bitmap.Problem is not null)
        .Select(bitmap => $"bitmap '{bitmap.Name}' of '{_layer.FileName}': {bitmap.Problem}")
        .Concat(_bitmapsProblem is null ? [] : [$"the bitmaps of '{_layer.FileName}': {_bitmapsProblem}"]);

    private long Length => RoundUp(_layer.Header?.Length ?? _layer.Node.Length);

    /// <summary>Describes an image, or with all images below it.</summary>
    /// <param name="name">The image's name.</param>
    /// <param name="options">How it is opened.</param>
    /// <param name="chain">Whether the images below are described too.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <exception cref="Blocks.Nodes.BlockException">An image cannot be opened, or the chain is a loop.</exception>
    public static async ValueTask<IReadOnlyList<ImageInfo>> ReadAsync(
        string name, ImageOpenOptions options, bool chain, CancellationToken cancellationToken = default)
    {
        var image = await ImageOpener.OpenAsync(
            name, options with { HeadersOnly = true, WithoutBacking = !chain }, cancellationToken)
            .ConfigureAwait(false);
        await using var closing = image.ConfigureAwait(false);
        List<ImageInfo> infos = [];
        foreach (var layer in image.Layers)
        {
            infos.Add(layer.Header is null
                ? new ImageInfo(layer, [], [], null)
                : await ReadQcow2Async(layer, cancellationToken).ConfigureAwait(false));
        }

        return infos;
    }

    private static async ValueTask<ImageInfo> ReadQcow2Async(ImageLayer layer, CancellationToken cancellationToken)
    {
        var snapshots = await Qcow2Image.ReadSnapshotsAsync(layer.File, cancellationToken).ConfigureAwait(false);
        try
        {
            var bitmaps = await Qcow2Image.ReadBitmapsAsync(layer.File, cancellationToken).ConfigureAwait(false);
            return new ImageInfo(layer, snapshots, bitmaps, null);
        }
        catch (Qcow2Exception exception)
        {
            // The disk is readable whatever its bitmaps are.
            return new ImageInfo(layer, snapshots, [], exception.Message);
        }
    }

    /// <summary>The description for programs.</summary>
    public OutputDict ToDict()
    {
        var isFile = _layer.Path is not null;
        var child = Common(new OutputDict(), RoundUp(_layer.File.Length))
            .Add("children", new List<object>())
            .Add("format", isFile ? "file" : "nbd")
            .Add("format-specific", isFile
                ? new OutputDict().Add("type", "file").Add("data", new OutputDict())
                : null)
            .Add("dirty-flag", isFile ? false : null);
        var children = new List<object> { new OutputDict().Add("name", "file").Add("info", child) };
        var dict = Common(new OutputDict(), Length).Add("format", _layer.Format);
        if (_layer.Header is not { } header)
        {
            return dict.Add("children", children).Add("dirty-flag", isFile ? false : null);
        }

        return dict
            .Add("cluster-size", header.ClusterSize)
            .Add("dirty-flag", header.IsDirty)
            .Add("backing-filename", header.BackingFile)
            .Add("full-backing-filename", header.BackingFile is null ? null : _layer.FullBackingName)
            .Add("backing-filename-format", header.BackingFormat)
            .Add("snapshots", _snapshots.Count == 0 ? null : _snapshots.Select(ToDict).ToList<object>())
            .Add("format-specific", new OutputDict().Add("type", "qcow2").Add("data", SpecificsOf(header)))
            .Add("children", children);
    }

    /// <summary>The description for people, qemu-img's lines.</summary>
    public string ToText()
    {
        StringBuilder text = new();
        void Line(string line) => text.Append(line).Append('\n');
        Line($"image: {_layer.FileName}");
        Line($"file format: {_layer.Format}");
        Line($"virtual size: {WithBytes(Length)}");
        Line($"disk size: {AllocatedText}");
        if (_layer.Header is { } header)
        {
            Line(string.Create(CultureInfo.InvariantCulture, $"cluster_size: {header.ClusterSize}"));
            if (header.IsDirty)
            {
                Line("cleanly shut down: no");
            }

            if (header.BackingFile is { } backing)
            {
                var full = _layer.FullBackingName is not { } name ? " (cannot determine actual path)"
                    : name == backing ? "" : $" (actual path: {name})";
                Line($"backing file: {backing}{full}");
            }

            if (header.BackingFormat is { } format)
            {
                Line($"backing file format: {format}");
            }

            AppendSnapshots(text);
            Line("Format specific information:");
            OutlineText.Append(text, SpecificsOf(header), 1);
        }

        Line("Child node '/file':");
        Line($"    filename: {_layer.FileName}");
        Line($"    protocol type: {(_layer.Path is null ? "nbd" : "file")}");
        Line($"    file length: {WithBytes(RoundUp(_layer.File.Length))}");
        Line($"    disk size: {AllocatedText}");
        return text.ToString();
    }

    private string AllocatedText => _allocated is { } bytes ? SizeText.Format(bytes) : "unavailable";

    private OutputDict Common(OutputDict dict, long length) => dict
        .Add("virtual-size", length)
        .Add("filename", _layer.FileName)
        .Add("actual-size", _allocated);

    private OutputDict SpecificsOf(Qcow2Header header)
    {
        var dict = new OutputDict()
            .Add("compat", header.Compat)
            .Add("compression-type", header.CompressionName)
            .Add("refcount-bits", header.RefcountBits);
        return header.Version < 3
            ? dict
            : dict
                .Add("lazy-refcounts", header.HasLazyRefcounts)
                .Add("corrupt", header.IsCorrupt)
                .Add("extended-l2", header.HasExtendedL2)
                .Add("data-file", header.DataFile)
                .Add("data-file-raw", header.HasDataFile ? header.IsDataFileRaw : null)
                .Add("bitmaps", _bitmaps.Count == 0 ? null : _bitmaps.Select(ToDict).ToList<object>());
    }

    private static OutputDict ToDict(StoredBitmapInfo bitmap)
    {
        List<object> flags = [];
        if (bitmap.IsInUse)
        {
            flags.Add("in-use");
        }

        if (bitmap.IsAuto)
        {
            flags.Add("auto");
        }

        return new OutputDict()
            .Add("flags", flags)
            .Add("name", bitmap.Name)
            .Add("granularity", bitmap.Granularity);
    }

    private static OutputDict ToDict(InternalSnapshot snapshot) => new OutputDict()
        .Add("id", snapshot.Id)
        .Add("name", snapshot.Name)
        .Add("vm-state-size", snapshot.VmStateLength)
        .Add("date-sec", snapshot.Date.ToUnixTimeSeconds())
        .Add("date-nsec", snapshot.Date.Ticks % TimeSpan.TicksPerSecond * TimeSpan.NanosecondsPerTick)
        .Add("vm-clock-sec", snapshot.VmClock / NanosecondsPerSecond)
        .Add("vm-clock-nsec", snapshot.VmClock % NanosecondsPerSecond)
        .Add("icount", snapshot.InstructionCount);

    private void AppendSnapshots(StringBuilder text)
    {
        if (_snapshots.Count == 0)
        {
            return;
        }

        void Row(string id, string tag, string size, string date, string clock, string count) => text
            .Append(CultureInfo.InvariantCulture, $"{id,-7} {tag,-16} {size,8} {date,19} {clock,15} {count,10}\n");
        text.Append("Snapshot list:\n");
        Row("ID", "TAG", "VM_SIZE", "DATE", "VM_CLOCK", "ICOUNT");
        foreach (var snapshot in _snapshots)
        {
            var date = snapshot.Date.ToLocalTime();
            var clock = TimeSpan.FromTicks((long)(snapshot.VmClock / TimeSpan.NanosecondsPerTick));
            Row(
                snapshot.Id,
                snapshot.Name,
                SizeText.Format(snapshot.VmStateLength),
                date.ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture),
                string.Create(CultureInfo.InvariantCulture,
                    $"{(int)clock.TotalHours:0000}:{clock.Minutes:00}:{clock.Seconds:00}.{clock.Milliseconds:000}"),
                snapshot.InstructionCount?.ToString(CultureInfo.InvariantCulture) ?? "--");
        }
    }

    private static string WithBytes(long length) => string.Create(
        CultureInfo.InvariantCulture, $"{SizeText.Format(length)} ({length} bytes)");

    private static long RoundUp(long length) =>
        (length + PaddedNode.SectorSize - 1) / PaddedNode.SectorSize * PaddedNode.SectorSize;
}
