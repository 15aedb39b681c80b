namespace Tidemark.Interop.Tests.Placement;

/// <summary>The table of the design page, read as it stands there.</summary>
internal static class PlacementTable
{
    private const string Page = "docs/design/002-where-the-temporary-bitmap-lies.md";

    /// <summary>What the page states for a version: mode and place to outcome, in the page's order.</summary>
    public static Dictionary<(string Mode, string Place), string> Read(string version)
    {
        var rows = File.ReadLines(Path.Combine(FindRoot(), Page))
            .Where(line => line.StartsWith("| ", StringComparison.Ordinal))
            .Select(line => line.Trim('|').Split('|', StringSplitOptions.TrimEntries))
            .SkipWhile(cells => cells is not ["mode", "bitmap on", ..])
            .ToList();
        var column = Array.IndexOf(rows[0], version);
        return rows.Skip(1).TakeWhile(cells => cells.Length == rows[0].Length)
            .Where(cells => cells[0] is "push" or "pull")
            .ToDictionary(cells => (cells[0], cells[1]), cells => cells[column].Trim('*'));
    }

    private static string FindRoot()
    {
        var folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "Tidemark.slnx")))
        {
            folder = Path.GetDirectoryName(folder)
                ?? throw new InvalidOperationException("the folder of the solution was not found");
        }

        return folder;
    }
}
