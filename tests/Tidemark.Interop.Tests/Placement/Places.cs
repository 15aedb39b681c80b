namespace Tidemark.Interop.Tests.Placement;

/// <summary>
/// Every node that could hold the temporary bitmap, for both modes, by the words of the table in
/// <c>docs/design/002-where-the-temporary-bitmap-lies.md</c>; each act returns whether what came out is right.
/// </summary>
internal static class Places
{
    public static IReadOnlyList<(string Mode, string Place, Func<PlacementLab, Task<bool>> Act)> All { get; } =
    [
        ("push", "the disk's node", lab => PushAsync(lab, "top")),
        ("push", "the target node", lab => PushAsync(lab, "target")),
        ("push", "the target's protocol node", lab => PushAsync(lab, "target-file")),
        ("push", "the disk's protocol node", lab => PushAsync(lab, "top-file")),
        ("push", "the disk's backing node", lab => PushAsync(lab, "base")),
        ("push", "a filter over the disk, the job reading the disk", lab => PushFilterAsync(lab, "filter", "top")),
        ("push", "a filter over the disk, the job reading the filter", lab => PushFilterAsync(lab, "filter", "filter")),
        ("push", "the disk's node, the job reading a filter over it", lab => PushFilterAsync(lab, "top", "filter")),
        ("pull", "the scratch node", lab => PullAsync(lab, "scratch")),
        ("pull", "the scratch node, exported before the job begins", ExportedBeforeAsync),
        ("pull", "the scratch's protocol node", lab => PullAsync(lab, "scratch-file")),
        ("pull", "the disk's node, by name", lab => PullAsync(lab, "top")),
        ("pull", "the disk's node, as node and name", lab => PullAsync(lab, "top", named: true)),
        ("pull", "the disk's protocol node", lab => PullAsync(lab, "top-file")),
        ("pull", "the disk's backing node, by name", lab => PullAsync(lab, "base")),
        ("pull", "the disk's backing node, as node and name", lab => PullAsync(lab, "base", named: true)),
        ("pull", "the scratch node and, empty, the disk's", OnBothAsync),
        ("pull", "a filter over the disk, beside the scratch", BesideAsync),
        ("pull", "the scratch node, a filter between it and the disk", lab => BetweenAsync(lab, "scratch")),
        ("pull", "that filter", lab => BetweenAsync(lab, "filter")),
        ("pull", "the disk's node, by name, behind that filter", lab => BetweenAsync(lab, "top")),
        ("pull", "the job's own filter", OnJobFilterAsync),
        ("pull", "the snapshot-access node", lab => AccessAsync(lab, "access")),
        ("pull", "the disk's node, by name, seen through snapshot-access", lab => AccessAsync(lab, "top")),
        ("pull", "the disk's node, as node and name, seen through snapshot-access",
            lab => AccessAsync(lab, "top", named: true)),
    ];

    private static async Task<bool> PushAsync(PlacementLab lab, string place)
    {
        await lab.AddStoreAsync("target", backing: null);
        await lab.AddTemporaryAsync(place);
        return await lab.PushAsync("top");
    }

    private static async Task<bool> PushFilterAsync(PlacementLab lab, string place, string device)
    {
        await lab.AddStoreAsync("target", backing: null);
        await lab.AddFilterAsync("filter", "top");
        await lab.AddTemporaryAsync(place);
        return await lab.PushAsync(device);
    }

    private static async Task<bool> PullAsync(PlacementLab lab, string place, bool named = false)
    {
        await lab.AddStoreAsync("scratch", "top");
        await lab.AddTemporaryAsync(place);
        await lab.BeginPullAsync();
        return await lab.ExportAsync("scratch", named ? Named(place) : null);
    }

    private static async Task<bool> ExportedBeforeAsync(PlacementLab lab)
    {
        await lab.AddStoreAsync("scratch", "top");
        await lab.AddTemporaryAsync("scratch");
        var found = await lab.ExportAsync("scratch");
        await lab.BeginPullAsync();
        return found;
    }

    private static async Task<bool> OnBothAsync(PlacementLab lab)
    {
        await lab.AddStoreAsync("scratch", "top");
        await lab.AddTemporaryAsync("top", isEmpty: true);
        await lab.AddTemporaryAsync("scratch");
        await lab.BeginPullAsync();
        return await lab.ExportAsync("scratch");
    }

    private static async Task<bool> BesideAsync(PlacementLab lab)
    {
        await lab.AddFilterAsync("filter", "top");
        await lab.AddStoreAsync("scratch", "top");
        await lab.AddTemporaryAsync("filter");
        await lab.BeginPullAsync();
        return await lab.ExportAsync("scratch");
    }

    private static async Task<bool> BetweenAsync(PlacementLab lab, string place)
    {
        await lab.AddFilterAsync("filter", "top");
        await lab.AddStoreAsync("scratch", "filter");
        await lab.AddTemporaryAsync(place);
        await lab.BeginPullAsync();
        return await lab.ExportAsync("scratch");
    }

    private static async Task<bool> OnJobFilterAsync(PlacementLab lab)
    {
        await lab.AddStoreAsync("scratch", "top");
        await lab.BeginPullAsync();
        var filter = await lab.JobFilterAsync()
            ?? throw new NotSupportedException("the job's filter cannot be named");
        await lab.AddTemporaryAsync(filter);
        return await lab.ExportAsync("scratch");
    }

    private static async Task<bool> AccessAsync(PlacementLab lab, string place, bool named = false)
    {
        await lab.AddStoreAsync("saved", backing: null);
        try
        {
            await lab.AddNodeAsync("cbw", """
                "driver": "copy-before-write", "file": "top", "target": "saved"
                """);
            await lab.AddNodeAsync("access", """
                "driver": "snapshot-access", "file": "cbw"
                """);
        }
        catch (InvalidOperationException exception)
        {
            throw new NotSupportedException(exception.Message);
        }

        await lab.AddTemporaryAsync(place);
        return await lab.ExportAsync("access", named ? Named(place) : null);
    }

    private static string Named(string node) => $$"""{"node": "{{node}}", "name": "{{PlacementLab.Temporary}}"}""";
}
