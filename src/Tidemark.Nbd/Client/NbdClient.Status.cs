using System.Buffers.Binary;
using Tidemark.Blocks.Extents;
using Tidemark.Blocks.Nodes;
using Tidemark.Nbd.Protocol;

namespace Tidemark.Nbd.Client;

// Metadata contexts.
public sealed partial class NbdClient
{
    /// <summary>
    /// Appends what a metadata context says of a range; the whole range is described. <c>base:allocation</c> gives
    /// <see cref="ExtentFlags.Hole"/> and <see cref="ExtentFlags.Zero"/>, a <c>qemu:dirty-bitmap:</c> context gives
    /// <see cref="ExtentFlags.Dirty"/>.
    /// </summary>
    /// <exception cref="NbdException">The context was not negotiated or is of another kind, or as
    /// <see cref="ReadAsync"/>.</exception>
    public async ValueTask GetExtentsAsync(
        string contextName, long offset, long length, ExtentList extents, CancellationToken cancellationToken = default)
    {
        CheckRange(offset, length);
        var id = IdOf(contextName);
        var dirty = contextName.StartsWith(MetaContextNames.DirtyBitmapPrefix, StringComparison.Ordinal);
        if (!dirty && contextName != MetaContextNames.BaseAllocation)
        {
            throw new NbdException(
                BlockErrorKind.NotSupported,
                $"the metadata context '{contextName}' does not tell of holes or dirty bytes");
        }

        var found = new List<NbdExtent>();
        for (var end = offset + length; offset < end; offset = found[^1].End)
        {
            found.Clear();
            await GetSomeAsync(id, offset, end - offset, found, cancellationToken).ConfigureAwait(false);
            foreach (var extent in found)
            {
                extents.Append(extent.Offset, extent.Length, FlagsOf(dirty, extent.State));
            }
        }
    }

    /// <summary>
    /// Appends what any metadata context says of a range, as the server has it; the whole range is described, and
    /// neighbours that say the same are one.
    /// </summary>
    /// <exception cref="NbdException">The context was not negotiated, or as <see cref="ReadAsync"/>.</exception>
    public async ValueTask GetMetaContextAsync(
        string contextName,
        long offset,
        long length,
        IList<NbdExtent> extents,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(extents);
        CheckRange(offset, length);
        var id = IdOf(contextName);
        var found = new List<NbdExtent>();
        for (var end = offset + length; offset < end; offset = found[^1].End)
        {
            found.Clear();
            await GetSomeAsync(id, offset, end - offset, found, cancellationToken).ConfigureAwait(false);
            foreach (var extent in found)
            {
                if (extents.Count > 0 && extents[^1] is var last && last.End == extent.Offset
                    && last.State == extent.State)
                {
                    extents[^1] = last with { Length = last.Length + extent.Length };
                }
                else
                {
                    extents.Add(extent);
                }
            }
        }
    }

    // The server may describe less than was asked, never nothing: each call makes progress.
    private ValueTask GetSomeAsync(
        uint id, long offset, long length, List<NbdExtent> found, CancellationToken cancellationToken)
    {
        if (!_export.ExtendedHeaders)
        {
            length = Math.Min(length, uint.MaxValue - (uint)MinimumBlockSize + 1);
            length -= length % MinimumBlockSize;
        }

        var request = new OutgoingRequest(NbdCommand.BlockStatus, CommandFlags.None, offset, length)
        {
            Extents = found,
            ContextId = id,
        };
        if (_export.Contexts.Count > 1 && (Flags & NbdTransmissionFlags.BlockStatusPayload) != 0)
        {
            // Only the wanted context is looked up and sent: the payload is the range's length and its number.
            var payload = new byte[12];
            BinaryPrimitives.WriteInt64BigEndian(payload, length);
            BinaryPrimitives.WriteUInt32BigEndian(payload.AsSpan(8), id);
            request = request with { Payload = payload };
        }

        return SubmitAsync(request, cancellationToken);
    }

    private uint IdOf(string contextName) => _export.Contexts.TryGetValue(contextName, out var id)
        ? id
        : throw new NbdException(
            BlockErrorKind.NotFound,
            $"the NBD server does not offer the metadata context '{contextName}' for this export");

    // Unknown bits are ignored, as the document asks.
    private static ExtentFlags FlagsOf(bool dirty, ulong state) => dirty
        ? (state & 1) != 0 ? ExtentFlags.Dirty : ExtentFlags.None
        : (ExtentFlags)state & (ExtentFlags.Hole | ExtentFlags.Zero);
}
