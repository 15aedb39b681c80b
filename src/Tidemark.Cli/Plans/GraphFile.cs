using System.Text.Json;
using Tidemark.Backup.Graph;

namespace Tidemark.Cli.Plans;

/// <summary>Reads the replies of a hypervisor from a file.</summary>
internal static class GraphFile
{
    private const long MaximumBytes = 256L << 20;

    /// <summary>Reads the list that query-named-block-nodes returned, with or without the <c>return</c> around
    /// it.</summary>
    public static GraphSnapshot Read(string path)
    {
        if (new FileInfo(path) is { Exists: true, Length: > MaximumBytes })
        {
            throw new CliException($"'{path}' is over the limit of {MaximumBytes} bytes");
        }

        try
        {
            using var stream = File.OpenRead(path);
            using var document = JsonDocument.Parse(stream);
            var root = document.RootElement.Clone();
            if (root.ValueKind == JsonValueKind.Object && root.TryGetProperty("return", out var reply))
            {
                root = reply;
            }

            return GraphParser.Parse(new GraphReplies { NamedBlockNodes = root });
        }
        catch (JsonException exception)
        {
            throw new CliException($"'{path}' is no JSON: {exception.Message}");
        }
        catch (GraphException exception)
        {
            throw new CliException($"'{path}': {exception.Message}");
        }
    }
}
