using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;

namespace Tidemark.Images.Opening;

/// <summary>A raw file whose length is no whole number of sectors, as the disk that QEMU makes of it: zeroes to the
/// end of the last sector. For reading.</summary>
internal sealed class PaddedNode(string name, BlockNode file) : FilterNode(name, file)
{
    internal const int SectorSize = 512;

    /// <inheritdoc/>
    public override string Driver => "raw";

    /// <inheritdoc/>
    public override bool IsFilter => false;

    /// <inheritdoc/>
    public override bool IsReadOnly => true;

    /// <inheritdoc/>
    public override long Length => (File.Node.Length + SectorSize - 1) / SectorSize * SectorSize;

    /// <inheritdoc/>
    protected override ValueTask ReadCoreAsync(long offset, Memory<byte> target, CancellationToken cancellationToken)
    {
        var inside = (int)Math.Clamp(File.Node.Length - offset, 0, target.Length);
        target.Span[inside..].Clear();
        return inside == 0 ? default : File.Node.ReadAsync(offset, target[..inside], cancellationToken);
    }

    /// <inheritdoc/>
    protected override async ValueTask GetBlockStatusCoreAsync(
        long offset, long length, ExtentList extents, CancellationToken cancellationToken)
    {
        var inside = Math.Clamp(File.Node.Length - offset, 0, length);
        if (inside > 0)
        {
            await File.Node.GetBlockStatusAsync(offset, inside, extents, cancellationToken).ConfigureAwait(false);
        }

        if (inside < length)
        {
            extents.Append(offset + inside, length - inside, ExtentFlags.Hole | ExtentFlags.Zero);
        }
    }
}
