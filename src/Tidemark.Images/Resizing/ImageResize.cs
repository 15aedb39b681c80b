using Tidemark.Images.Creating;
using Tidemark.Images.Opening;
using Tidemark.Qcow2;
using Tidemark.Qcow2.Format;

namespace Tidemark.Images.Resizing;

/// <summary>Changes the size of a disk.</summary>
public static class ImageResize
{
    /// <summary>Resizes. Durable when the call completes.</summary>
    /// <param name="name">The image.</param>
    /// <param name="open">How it is opened; writable is seen to here.</param>
    /// <param name="length">The new size in bytes, or with <paramref name="sign"/> how much larger or
    /// smaller.</param>
    /// <param name="sign">+1, -1, or 0 for a size.</param>
    /// <param name="shrink">Whether the disk may become smaller.</param>
    /// <param name="preallocation">What of the new part is allocated in advance.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <exception cref="Blocks.Nodes.BlockException">The disk would become smaller without leave, or the image cannot
    /// be resized.</exception>
    public static async ValueTask RunAsync(
        string name, ImageOpenOptions open, long length, int sign, bool shrink, Qcow2Preallocation preallocation,
        CancellationToken cancellationToken = default)
    {
        var image = await ImageOpener.OpenAsync(name, open with { Writable = true }, cancellationToken)
            .ConfigureAwait(false);
        await using var closing = image.ConfigureAwait(false);
        var before = image.Top.Length;
        if (length > Qcow2Limits.MaximumHostOffset)
        {
            throw ImageException.Invalid($"{length} bytes are more than any image can have");
        }

        length = RoundUp(sign == 0 ? length : before + (sign * length));
        if (length <= 0)
        {
            throw ImageException.Invalid("New image size must be positive");
        }

        if (length < before && !shrink)
        {
            throw ImageException.Invalid(
                "Use the --shrink option to perform a shrink operation; it deletes all data beyond the shrunken "
                + "image's end");
        }

        if (length <= before && preallocation != Qcow2Preallocation.Off)
        {
            throw ImageException.Invalid("Preallocation can only be used for growing images");
        }

        if (image.TopLayer.Qcow2 is { } qcow2)
        {
            await qcow2.ResizeDiskAsync(length, preallocation, cancellationToken).ConfigureAwait(false);
        }
        else
        {
            await image.Top.ResizeAsync(length, cancellationToken).ConfigureAwait(false);
            await ImageCreate.PreallocateRawAsync(
                image.TopLayer.File, image.TopLayer.Path, before, Math.Max(0, length - before), preallocation,
                cancellationToken).ConfigureAwait(false);
        }

        await image.Top.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    private static long RoundUp(long length) =>
        (length + PaddedNode.SectorSize - 1) / PaddedNode.SectorSize * PaddedNode.SectorSize;
}
