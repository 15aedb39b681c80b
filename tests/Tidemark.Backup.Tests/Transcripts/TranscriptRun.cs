using System.Text.Json;

namespace Tidemark.Backup.Tests.Transcripts;

/// <summary>One command line of a scenario.</summary>
internal sealed record TranscriptRun(string CommandLine)
{
    /// <summary>What was sent, each with the newest list of nodes before it.</summary>
    internal List<(JsonElement Command, JsonElement? Graph)> Commands { get; } = [];

    /// <summary>What it failed with, or null.</summary>
    internal string? Error { get; set; }

    /// <summary>The names of the XML files on the line.</summary>
    internal IEnumerable<string> XmlFiles => CommandLine.Split(' ').Where(word =>
        word.EndsWith(".xml", StringComparison.Ordinal)).Select(word => Path.GetFileName(word)!);
}
