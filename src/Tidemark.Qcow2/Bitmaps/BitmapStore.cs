using System.Numerics;
using System.Text;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Qcow2.Format;
using Tidemark.Qcow2.Metadata;

namespace Tidemark.Qcow2.Bitmaps;

/// <summary>
/// The persistent bitmaps of one image: loaded at open, marked in use while the image is writable, stored at close.
/// </summary>
/// <remarks>
/// <para>Why no write can be missed by a bitmap that claims to be in step (in_use clear):</para>
/// <para>1. A writable image marks every bitmap in use, durably, before the first request can be made (<see
/// cref="MarkInUseAsync"/>, called by open). From then until the last step of <see cref="StoreAsync"/> every bitmap
/// that the file names is in use, so a crash anywhere in between makes them inconsistent, whatever was written.</para>
/// <para>2. <see cref="StoreAsync"/> runs when no request is under way and none will come; the bits in memory hold
/// every write. Bits, tables and the new directory go to new clusters and are flushed before the header names the new
/// directory. The header's change is one sector. Before it, the old directory (in use) counts; after it, the new one,
/// complete.</para>
/// <para>3. A bitmap added while the image is open is not in the file before that moment. One that is removed is taken
/// out of the directory by a new directory, in the same order, all others still in use.</para>
/// <para>4. Software that does not know bitmaps clears the autoclear bit when it writes; then nothing is loaded.</para>
/// <para>An inconsistent bitmap is kept as it is until it is removed. Calls are made one at a time: open, drained
/// sections, disposal.</para>
/// </remarks>
internal sealed class BitmapStore(Qcow2Metadata metadata, ImageFile file, string nodeName)
{
    private readonly BitmapBits _bits = new(metadata, file);
    private List<StoredBitmap> _stored = [];

    /// <summary>Why the stored bitmaps of a read-only image could not be read; null when they could.</summary>
    internal string? Problem { get; private set; }

    /// <summary>Loads every stored bitmap into the node's set. One whose bits cannot be read is inconsistent.</summary>
    /// <exception cref="Qcow2Exception">The directory is damaged and the image is to be written.</exception>
    internal async ValueTask LoadAsync(Qcow2Node node, CancellationToken cancellationToken)
    {
        if (metadata.Header.Bitmaps is not { } extension)
        {
            return;
        }

        try
        {
            foreach (var entry in await ReadDirectoryAsync(extension, node.Length, cancellationToken)
                .ConfigureAwait(false))
            {
                var bitmap = await LoadOneAsync(entry, node.Length, cancellationToken).ConfigureAwait(false);
                _stored.Add(new StoredBitmap(entry, bitmap));
                node.Bitmaps.Add(bitmap);
            }
        }
        catch (Qcow2Exception exception) when (node.IsReadOnly)
        {
            // Whatever the bitmaps are, the disk's bytes are readable.
            Problem = exception.Message;
        }
    }

    /// <summary>Marks every bitmap in use, durably. Until <see cref="StoreAsync"/> none of them can be taken for
    /// true.</summary>
    internal async ValueTask MarkInUseAsync(CancellationToken cancellationToken)
    {
        if (_stored.Count == 0 || _stored.TrueForAll(stored => (stored.Entry.Flags & BitmapFlags.InUse) != 0))
        {
            return;
        }

        // In place: only flag bits change, each by itself, so a torn write marks some and leaves others, and nothing
        // has been written to the disk yet.
        var marked = _stored.ConvertAll(stored => stored with
        {
            Entry = stored.Entry with { Flags = stored.Entry.Flags | BitmapFlags.InUse },
        });
        var directory = Lay(marked.ConvertAll(stored => stored.Entry));
        await file.WriteAsync(metadata.Header.Bitmaps!.Value.DirectoryOffset, directory, cancellationToken)
            .ConfigureAwait(false);
        await file.FlushAsync(cancellationToken).ConfigureAwait(false);
        _stored = marked;
    }

    /// <summary>Stores every persistent bitmap of the node, and only those; see the remarks for the order.</summary>
    internal async ValueTask StoreAsync(Qcow2Node node, CancellationToken cancellationToken)
    {
        var kept = _stored.FindAll(stored => IsKept(node, stored) && stored.Bitmap.IsInconsistent);
        var toStore = node.Bitmaps.Where(bitmap =>
            bitmap is { IsPersistent: true, IsInconsistent: false, Name: not null }).ToList();
        if (toStore.Count == 0 && kept.Count == _stored.Count)
        {
            return;
        }

        AllocationList allocated = new(metadata);
        try
        {
            List<BitmapDirectoryEntry> entries = kept.ConvertAll(stored => stored.Entry);
            foreach (var bitmap in toStore)
            {
                var old = _stored.Find(stored => ReferenceEquals(stored.Bitmap, bitmap));
                var (offset, count) = await _bits.StoreAsync(bitmap, allocated, cancellationToken)
                    .ConfigureAwait(false);
                entries.Add(NewEntry(bitmap, old?.Entry, offset, count));
            }

            await SwitchAsync(entries, allocated, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            await allocated.GiveBackAsync().ConfigureAwait(false);
            throw;
        }

        foreach (var stored in _stored.Except(kept))
        {
            await _bits.FreeAsync(stored.Entry, cancellationToken).ConfigureAwait(false);
        }

        _stored = kept;
    }

    /// <summary>Takes a bitmap out of the file; nothing happens when the file does not hold it.</summary>
    internal async ValueTask RemoveAsync(string name, CancellationToken cancellationToken)
    {
        var removed = _stored.Find(stored => string.Equals(stored.Entry.Name, name, StringComparison.Ordinal));
        if (removed is null)
        {
            return;
        }

        var left = _stored.FindAll(stored => !ReferenceEquals(stored, removed));
        AllocationList allocated = new(metadata);
        try
        {
            await SwitchAsync(left.ConvertAll(stored => stored.Entry), allocated, cancellationToken)
                .ConfigureAwait(false);
        }
        catch
        {
            await allocated.GiveBackAsync().ConfigureAwait(false);
            throw;
        }

        _stored = left;
        await _bits.FreeAsync(removed.Entry, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Whether one more persistent bitmap could be stored, with the reason if not.</summary>
    internal bool CanStore(Qcow2Node node, string name, long granularity, out string reason)
    {
        var nameLength = Encoding.UTF8.GetByteCount(name);
        var persistent = node.Bitmaps.Where(bitmap => bitmap.IsPersistent && bitmap.Name is not null).ToList();
        var directory = persistent.Sum(bitmap =>
            (long)BitmapDirectoryEntry.LengthOf(Encoding.UTF8.GetByteCount(bitmap.Name!), 0));
        var bits = BitmapBits.LengthOf(node.Length, granularity);
        reason = true switch
        {
            _ when metadata.Header.Version < 3 =>
                $"Cannot store dirty bitmaps in the qcow2 v2 image of node '{nodeName}'",
            _ when nameLength is 0 or > Qcow2Limits.MaximumBitmapNameLength =>
                $"Name length {nameLength} is outside 1 to {Qcow2Limits.MaximumBitmapNameLength}",
            _ when granularity < 1L << Qcow2Limits.MinimumGranularityBits =>
                $"Granularity is under minimum ({1L << Qcow2Limits.MinimumGranularityBits} bytes)",
            _ when granularity > 1L << Qcow2Limits.MaximumGranularityBits =>
                $"Granularity exceeds maximum ({1L << Qcow2Limits.MaximumGranularityBits} bytes)",
            _ when bits > Qcow2Limits.MaximumBitmapBytes =>
                "Too much space will be occupied by the bitmap. Use larger granularity",
            _ when persistent.Count >= Qcow2Limits.MaximumBitmaps =>
                $"Maximum number of persistent bitmaps ({Qcow2Limits.MaximumBitmaps}) is already reached",
            _ when directory + BitmapDirectoryEntry.LengthOf(nameLength, 0) > Qcow2Limits.MaximumBitmapDirectoryBytes =>
                "Not enough space in the bitmap directory",
            _ => "",
        };
        return reason.Length == 0;
    }

    private static bool IsKept(Qcow2Node node, StoredBitmap stored) =>
        stored.Bitmap.IsPersistent && node.Bitmaps.Contains(stored.Bitmap);

    private static BitmapDirectoryEntry NewEntry(DirtyBitmap bitmap, BitmapDirectoryEntry? old, long offset, int count)
    {
        var flags = bitmap.IsRecording ? BitmapFlags.Auto : BitmapFlags.None;
        return new BitmapDirectoryEntry
        {
            TableOffset = offset,
            TableEntries = count,
            Flags = flags | ((old?.Flags ?? BitmapFlags.None) & BitmapFlags.ExtraDataCompatible),
            GranularityBits = BitOperations.Log2((ulong)bitmap.Granularity),
            NameBytes = Encoding.UTF8.GetBytes(bitmap.Name!),
            ExtraData = old?.ExtraData ?? [],
        };
    }

    private static byte[] Lay(List<BitmapDirectoryEntry> entries)
    {
        var directory = new byte[entries.Sum(entry => entry.Length)];
        var offset = 0;
        foreach (var entry in entries)
        {
            entry.WriteTo(directory.AsSpan(offset));
            offset += entry.Length;
        }

        return directory;
    }

    // A new directory in new clusters, all that it names durable, then the header, then the old directory is free.
    private async ValueTask SwitchAsync(
        List<BitmapDirectoryEntry> entries, AllocationList allocated, CancellationToken cancellationToken)
    {
        BitmapsExtension? extension = null;
        if (entries.Count > 0)
        {
            var directory = Lay(entries);
            if (directory.Length > Qcow2Limits.MaximumBitmapDirectoryBytes
                || entries.Count > Qcow2Limits.MaximumBitmaps)
            {
                throw Qcow2Exception.NotSupported(
                    $"{entries.Count} bitmaps in a directory of {directory.Length} bytes are over the limits of "
                    + $"the format");
            }

            var offset = await allocated.AllocateAsync(directory.Length, cancellationToken).ConfigureAwait(false);
            await file.WriteAsync(offset, directory, cancellationToken).ConfigureAwait(false);
            extension = new BitmapsExtension((uint)entries.Count, directory.Length, offset);
        }

        var old = metadata.Header.Bitmaps;
        await metadata.WriteBackAsync(cancellationToken).ConfigureAwait(false);
        await metadata.UpdateHeaderAsync(header => header.WithBitmaps(extension), cancellationToken)
            .ConfigureAwait(false);
        if (old is { } before)
        {
            var clusters = (int)((before.DirectoryLength + metadata.ClusterSize - 1) / metadata.ClusterSize);
            await metadata.FreeUnlinkedAsync(before.DirectoryOffset, clusters).ConfigureAwait(false);
        }
    }

    private async ValueTask<List<BitmapDirectoryEntry>> ReadDirectoryAsync(
        BitmapsExtension extension, long diskLength, CancellationToken cancellationToken)
    {
        if (extension.DirectoryOffset > file.EndOfClusters - extension.DirectoryLength)
        {
            throw Qcow2Exception.Corrupt(
                $"the bitmap directory at 0x{extension.DirectoryOffset:x}, {extension.DirectoryLength} bytes, "
                + $"lies past the end "
                + "of the file");
        }

        var bytes = new byte[extension.DirectoryLength];
        await file.ReadAsync(extension.DirectoryOffset, bytes, cancellationToken).ConfigureAwait(false);
        var entries = BitmapDirectoryEntry.ReadAll(bytes, extension.Count, (int)metadata.ClusterSize);
        long total = 0;
        foreach (var entry in entries)
        {
            total += BitmapBits.LengthOf(diskLength, 1L << entry.GranularityBits);
            if (total > Qcow2Limits.MaximumTotalBitmapBytes)
            {
                throw Qcow2Exception.Corrupt(
                    $"the bitmaps up to '{entry.Name}' need {total} bytes of memory, over the limit of "
                    + $"{Qcow2Limits.MaximumTotalBitmapBytes}");
            }
        }

        return entries;
    }

    private async ValueTask<DirtyBitmap> LoadOneAsync(
        BitmapDirectoryEntry entry, long diskLength, CancellationToken cancellationToken)
    {
        if (entry.IsUsable)
        {
            try
            {
                DirtyBitmap bitmap = new(entry.Name, diskLength, 1L << entry.GranularityBits) { IsPersistent = true };
                await _bits.LoadAsync(entry, bitmap, cancellationToken).ConfigureAwait(false);
                bitmap.IsRecording = (entry.Flags & BitmapFlags.Auto) != 0;
                return bitmap;
            }
            catch (Qcow2Exception)
            {
                // Its bits are lost; that it was there is worth telling. It is never used.
            }
        }

        return new DirtyBitmap(entry.Name, diskLength, 1L << entry.GranularityBits)
        {
            IsPersistent = true,
            IsInconsistent = true,
        };
    }
}
