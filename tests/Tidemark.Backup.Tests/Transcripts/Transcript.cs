using System.Text.Json;

namespace Tidemark.Backup.Tests.Transcripts;

/// <summary>One recorded scenario of another tool: what was run, what was sent, what was answered.</summary>
internal sealed record Transcript(string Name, IReadOnlyList<TranscriptRun> Runs)
{
    internal static Transcript Read(string path)
    {
        List<TranscriptRun> runs = [];
        JsonElement? graph = null;
        var last = "";
        foreach (var line in File.ReadLines(path))
        {
            if (line.StartsWith("$ ", StringComparison.Ordinal))
            {
                runs.Add(new TranscriptRun(line[2..]));
            }
            else if (line.StartsWith("C: ", StringComparison.Ordinal))
            {
                var command = Parse(line);
                last = command.GetProperty("execute").GetString()!;
                runs.LastOrDefault()?.Commands.Add((command, graph));
            }
            else if (line.StartsWith("S: ", StringComparison.Ordinal) && last == "query-named-block-nodes")
            {
                graph = Parse(line).GetProperty("return");
                last = "";
            }
            else if (line.StartsWith("> error: ", StringComparison.Ordinal) && runs.Count > 0)
            {
                runs[^1].Error ??= line["> error: ".Length..];
            }
        }

        return new Transcript(Path.GetFileNameWithoutExtension(path), runs);
    }

    private static JsonElement Parse(string line)
    {
        using var document = JsonDocument.Parse(line[3..]);
        return document.RootElement.Clone();
    }
}
