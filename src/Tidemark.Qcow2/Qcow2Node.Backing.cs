using System.Runtime.CompilerServices;
using System.Text;
using Tidemark.Qcow2.Format;

namespace Tidemark.Qcow2;

// Which image lies below: the name in the header, and letting it show again.
public sealed partial class Qcow2Node
{
    // A request that the files answer at once goes down the whole chain on one stack, a kilobyte or so for each image.
    // Where that comes to its end, the rest of the way is gone on the stack of another thread.
    private static bool HasStack => RuntimeHelpers.TryEnsureSufficientExecutionStack();

    private static ConfiguredTaskAwaitable ChangeStackAsync() =>
        Task.CompletedTask.ConfigureAwait(ConfigureAwaitOptions.ForceYielding);

    /// <summary>Writes another backing file name into the header, durably, or takes it away: QEMU's
    /// <c>change-backing-file</c>. What is read follows <see cref="SetBacking"/>, not the name. Only inside a drained
    /// section.</summary>
    /// <param name="name">The name as it is to stand in the image; null for none.</param>
    /// <param name="format">The backing file's format; required with a name.</param>
    /// <param name="cancellationToken">Stops it; the header then has the old name or the new one.</param>
    public async ValueTask ChangeBackingFileAsync(
        string? name, string? format, CancellationToken cancellationToken = default)
    {
        CheckMayChange("change the backing file of");
        var length = name is null ? 0 : Encoding.UTF8.GetByteCount(name);
        if (length > Qcow2Limits.MaximumBackingFileLength || (name is not null && length == 0)
            || name is null != format is null
            || (format is not null && Encoding.UTF8.GetByteCount(format) > Qcow2Limits.MaximumBackingFormatLength))
        {
            throw Invalid(
                $"cannot name '{name}' of format '{format}' as the backing file of node '{Name}': a name of 1 to "
                + $"{Qcow2Limits.MaximumBackingFileLength} bytes comes with its format");
        }

        if (name is not null && Header.IsDataFileRaw)
        {
            throw Invalid($"node '{Name}' has a raw data file, so it cannot have a backing file");
        }

        await _metadata.ChangeBackingFileAsync(name, format, cancellationToken).ConfigureAwait(false);
        _metadata.HasBacking = Backing is not null || name is not null;
    }

    /// <summary>Unmaps everything, so that the backing file shows again: what a commit ends with. Only inside a drained
    /// section.</summary>
    /// <param name="isSameBelow">Whether the backing file is known to hold durably what this disk holds: then nothing
    /// changes for a reader, and no bitmap marks anything.</param>
    /// <param name="cancellationToken">Stops it.</param>
    /// <exception cref="Qcow2Exception">The image has a raw data file, which is the disk by itself.</exception>
    public async ValueTask MakeEmptyAsync(bool isSameBelow = false, CancellationToken cancellationToken = default)
    {
        CheckMayChange("empty");
        if (Header.IsDataFileRaw)
        {
            throw Qcow2Exception.NotSupported($"cannot empty node '{Name}': it has a raw data file");
        }

        if (!isSameBelow)
        {
            // Before, not after: what fails half-way has changed the mapping, and no bitmap may miss that. With the
            // same bytes below, each cluster reads the same whether it is unmapped already or not: nothing to miss.
            Bitmaps.MarkDirty(0, Length);
        }

        await _metadata.CutAsync(0, cancellationToken).ConfigureAwait(false);
        await _metadata.WriteBackAsync(cancellationToken).ConfigureAwait(false);
    }
}
