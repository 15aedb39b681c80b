using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Tidemark.Backup.Tests.Transcripts;

/// <summary>
/// Commands without what may differ: the names of what lives for one operation. Everything else of a transaction is
/// compared, action by action; of the other commands their kind, their order and what they concern.
/// </summary>
internal sealed partial class Effects
{
    // What a qcow2 image gets when nothing is said.
    private const int DefaultClusterSize = 64 << 10;

    private readonly Dictionary<string, string> _images = new(StringComparer.Ordinal);
    private readonly List<string> _lines = [];

    /// <summary>The effects, one a line, up to the end of the preparation of a backup.</summary>
    internal static string[] Of(IEnumerable<JsonElement> commands)
    {
        var effects = new Effects();
        foreach (var command in commands)
        {
            effects.Add(command.GetProperty("execute").GetString()!, command.TryGetProperty("arguments", out var a)
                ? JsonNode.Parse(a.GetRawText())!.AsObject()
                : []);
        }

        return [.. effects._lines];
    }

    private void Add(string command, JsonObject arguments)
    {
        switch (command)
        {
            case "blockdev-add" when (string)arguments["driver"]! is "file" or "host_device":
                _images[(string)arguments["node-name"]!] = Path((string)arguments["filename"]!);
                _lines.Add($"open {arguments["driver"]} {Path((string)arguments["filename"]!)}");
                break;
            case "blockdev-add":
                var image = _images[(string)arguments["file"]!];
                _images[(string)arguments["node-name"]!] = image;
                _lines.Add($"image {image} {arguments["driver"]} over {arguments["backing"]?.ToString() ?? "nothing"}"
                    + Encryption(arguments));
                break;
            case "blockdev-create":
                var options = arguments["options"]!.AsObject();
                _lines.Add((string)options["driver"]! == "file"
                    ? $"size {Path((string)options["filename"]!)} {options["size"]}"
                    : $"format {_images[(string)options["file"]!]} {options["size"]} "
                        + $"{options["cluster-size"] ?? DefaultClusterSize}{Encryption(options)}");
                break;
            case "object-add" when (string)arguments["qom-type"]! == "secret":
                _lines.Add("key");
                break;
            case "nbd-server-start":
                var security = arguments.ContainsKey("tls-creds") ? "tls" : "";
                _lines.Add($"serve {arguments["addr"]!.ToJsonString()} {security}");
                break;
            case "block-export-add":
                _lines.Add(
                    $"export {_images[(string)arguments["node-name"]!]} {arguments["name"]} "
                    + $"{arguments["writable"]} {arguments["bitmaps"]?.ToJsonString()}");
                break;
            case "transaction":
                foreach (var action in arguments["actions"]!.AsArray())
                {
                    AddAction((string)action!["type"]!, action["data"]!.AsObject());
                }

                break;
            default:
                break;
        }
    }

    private void AddAction(string type, JsonObject data)
    {
        // The temporary bitmap of a push is one that a backup job reads; its name is its own.
        foreach (var key in new[] { "name", "target", "bitmap" })
        {
            if (data[key] is { } value && TemporaryName().IsMatch((string)value!) && !IsOnImage(data))
            {
                data[key] = "TEMPORARY";
            }
        }

        if (type == "blockdev-backup")
        {
            data.Remove("job-id");
            data.Remove("bitmap-mode");
            data["target"] = _images.GetValueOrDefault((string)data["target"]!, "?");
            data["sync"] = (string)data["sync"]! == "bitmap" ? "incremental" : data["sync"]!.DeepClone();
        }

        if (data["node"] is { } node && _images.TryGetValue((string)node!, out var image))
        {
            data["node"] = image;
        }

        _lines.Add($"{type} {data.ToJsonString()}");
    }

    // What is said of an image's encryption, but for the name of its key.
    private static string Encryption(JsonObject options)
    {
        var said = (options["encrypt"]?.AsObject() ?? options).DeepClone().AsObject();
        return said.Remove("key-secret") ? $" encrypted {(options["encrypt"] is null ? "" : said.ToJsonString())}" : "";
    }

    private bool IsOnImage(JsonObject data) => data["node"] is { } node && _images.ContainsKey((string)node!);

    // A name that holds the time of the recording.
    private static string Path(string path) => Seconds().Replace(path, ".TIME");

    [GeneratedRegex("^(backup-vd[a-z]|tidemark-[0-9a-f]{16}-temp)$")]
    private static partial Regex TemporaryName();

    [GeneratedRegex(@"\.1\d{9}$")]
    private static partial Regex Seconds();
}
