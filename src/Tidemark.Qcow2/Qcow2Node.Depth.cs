using Tidemark.Blocks.Extents;

namespace Tidemark.Qcow2;

// Which image of the chain holds what: what qemu-nbd offers as qemu:allocation-depth.
public sealed partial class Qcow2Node
{
    /// <inheritdoc/>
    protected override async ValueTask GetAllocationDepthCoreAsync(
        long offset, long length, DepthList depths, CancellationToken cancellationToken)
    {
        // The backing file is fixed for the whole answer, so that an exchange of it cannot split the range.
        var backing = Backing;
        var own = new ExtentList();
        var below = new DepthList();
        await GetOwnStatusAsync(offset, length, own, cancellationToken).ConfigureAwait(false);
        foreach (var extent in own)
        {
            if (!extent.IsHole || backing is null)
            {
                depths.Append(extent.Offset, extent.Length, extent.IsHole ? 0 : 1);
                continue;
            }

            var inBacking = Math.Clamp(backing.Length - extent.Offset, 0, extent.Length);
            below.Clear();
            if (inBacking > 0)
            {
                if (!HasStack)
                {
                    await ChangeStackAsync();
                }

                await backing.GetAllocationDepthAsync(extent.Offset, inBacking, below, cancellationToken)
                    .ConfigureAwait(false);
            }

            foreach (var run in below)
            {
                depths.Append(run.Offset, run.Length, run.Depth == 0 ? 0 : run.Depth + 1);
            }

            if (inBacking < extent.Length)
            {
                // Past the end of a shorter backing file it is that file's shortness that answers.
                depths.Append(extent.Offset + inBacking, extent.Length - inBacking, 2);
            }
        }
    }
}
