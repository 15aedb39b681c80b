using Tidemark.Images.Opening;
using Tidemark.Qcow2.Checking;

namespace Tidemark.Images.Checking;

/// <summary>Looks for contradictions in an image, and puts right what can be.</summary>
public static class ImageCheck
{
    /// <summary>Checks an image; its backing chain is not looked at.</summary>
    /// <param name="name">The image's name.</param>
    /// <param name="open">How it is opened.</param>
    /// <param name="repair">What is put right; the image is then opened for writing.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <returns>Null when the image's format has nothing to check.</returns>
    /// <exception cref="Blocks.Nodes.BlockException">The image cannot be opened, or is no image at all.</exception>
    public static async ValueTask<ImageCheckResult?> RunAsync(
        string name, ImageOpenOptions open, Qcow2Repair repair, CancellationToken cancellationToken = default)
    {
        open = open with { HeadersOnly = true, WithoutBacking = true, Writable = repair != Qcow2Repair.None };
        var image = await ImageOpener.OpenAsync(name, open, cancellationToken).ConfigureAwait(false);
        await using var closing = image.ConfigureAwait(false);
        var layer = image.TopLayer;
        if (layer.IsRaw)
        {
            return null;
        }

        Qcow2CheckOptions options = new() { Repair = repair };
        var report = await Qcow2Check.RunAsync(layer.File, options, cancellationToken).ConfigureAwait(false);
        if (report.LeaksFixed == 0 && report.CorruptionsFixed == 0)
        {
            return new ImageCheckResult(layer.FileName, layer.Format, report, 0, 0);
        }

        // What a repair reports of the rest may rest on tables that it has just replaced: the image is looked at again.
        await layer.File.FlushAsync(cancellationToken).ConfigureAwait(false);
        var again = await Qcow2Check.RunAsync(layer.File, new Qcow2CheckOptions(), cancellationToken)
            .ConfigureAwait(false);
        return new ImageCheckResult(layer.FileName, layer.Format, again, report.LeaksFixed, report.CorruptionsFixed)
        {
            RepairMessages = report.Messages,
        };
    }
}
