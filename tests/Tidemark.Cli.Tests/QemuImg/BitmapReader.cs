using Tidemark.Images.Opening;

namespace Tidemark.Cli.Tests.QemuImg;

/// <summary>The bits of a stored bitmap.</summary>
internal static class BitmapReader
{
    /// <summary>The dirty runs of a bitmap, as a text to compare.</summary>
    public static async Task<string> ReadAsync(string image, string name)
    {
        await using var open = await ImageOpener.OpenAsync(image, null, TestContext.Current.CancellationToken);
        var bitmap = open.Top.Bitmaps.Find(name);
        Assert.NotNull(bitmap);
        List<string> runs = [];
        for (long offset = 0; bitmap.TryNextDirty(offset, bitmap.Length - offset, out var run); offset = run.End)
        {
            runs.Add(FormattableString.Invariant($"{run.Offset}+{run.Length}"));
        }

        return string.Join(' ', runs);
    }
}
