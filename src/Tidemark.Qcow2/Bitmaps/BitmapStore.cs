using System.Numerics;
using System.Text;
using Tidemark.Blocks.Bitmaps;
using Tidemark.Blocks.Nodes;
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
/// <para>3. A bitmap added while the image is open is not in step in the file before that moment. One that is removed
/// is taken out of the directory by a new directory, in the same order, all others still in use.</para>
/// <para>A bitmap that is new at a flush is entered then, in use and with an empty table, in the same order: so a crash
/// leaves its name, inconsistent, and no doubt that it was there.</para>
/// <para>4. Software that does not know bitmaps clears the autoclear bit when it writes; then nothing is loaded.</para>
/// <para>An inconsistent bitmap is kept as it is until it is removed. Calls are made one at a time: open, drained
/// sections, disposal.</para>
/// </remarks>
internal sealed partial class BitmapStore(Qcow2Metadata metadata, ImageFile file, string nodeName) : IDisposable
{
    private readonly BitmapBits _bits = new(metadata, file);
    private readonly SemaphoreSlim _changing = new(1, 1);
    private volatile List<StoredBitmap> _stored = [];
    private volatile HashSet<DirtyBitmap> _known = [];

    /// <summary>Why the stored bitmaps of a read-only image could not be read; null when they could.</summary>
    internal string? Problem { get; private set; }

    /// <summary>The stored bitmaps as they stand in the image.</summary>
    internal IReadOnlyList<StoredBitmapInfo> Infos => _stored.ConvertAll(stored => stored.Entry.ToInfo());

    public void Dispose() => _changing.Dispose();

    /// <summary>Loads every stored bitmap into the node's set. One whose bits cannot be read is inconsistent.</summary>
    /// <exception cref="Qcow2Exception">The directory is damaged, the image is to be written, and the policy is to
    /// refuse that.</exception>
    internal async ValueTask LoadAsync(Qcow2Node node, BrokenBitmapPolicy policy, CancellationToken cancellationToken)
    {
        var header = metadata.Header;
        try
        {
            if (header.BitmapsProblem is { } problem)
            {
                throw Qcow2Exception.Corrupt(problem);
            }

            if (header.Bitmaps is { } extension)
            {
                await LoadAllAsync(node, extension, cancellationToken).ConfigureAwait(false);
            }
        }
        catch (Qcow2Exception exception) when (node.IsReadOnly || policy != BrokenBitmapPolicy.Refuse)
        {
            // Whatever the bitmaps are, the disk's bytes are readable.
            Problem = exception.Message;
            if (!node.IsReadOnly)
            {
                await PutAsideAsync(policy, cancellationToken).ConfigureAwait(false);
            }
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
        var marked = _stored.ConvertAll(stored => stored with { Entry = stored.Entry.MarkedInUse() });
        var directory = Lay(marked.ConvertAll(stored => stored.Entry));
        await file.WriteAsync(metadata.Header.Bitmaps!.Value.DirectoryOffset, directory, cancellationToken)
            .ConfigureAwait(false);
        await file.FlushAsync(cancellationToken).ConfigureAwait(false);
        SetStored(marked);
    }

    /// <summary>Stores every persistent bitmap of the node, and only those; see the remarks for the order.</summary>
    internal async ValueTask StoreAsync(Qcow2Node node, CancellationToken cancellationToken)
    {
        await _changing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await StoreLockedAsync(node, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _changing.Release();
        }
    }

    private async ValueTask StoreLockedAsync(Qcow2Node node, CancellationToken cancellationToken)
    {
        var kept = _stored.FindAll(stored => IsKept(node, stored) && stored.Bitmap.IsInconsistent);
        var toStore = node.Bitmaps.Where(bitmap =>
            bitmap is { IsPersistent: true, IsInconsistent: false, Name: not null }).ToList();
        if (toStore.Count == 0 && kept.Count == _stored.Count)
        {
            return;
        }

        var stored = kept.ToList();
        AllocationList allocated = new(metadata);
        try
        {
            foreach (var bitmap in toStore)
            {
                var before = _stored.Find(stored => ReferenceEquals(stored.Bitmap, bitmap));
                var (offset, count) = await _bits.StoreAsync(bitmap, allocated, cancellationToken)
                    .ConfigureAwait(false);
                stored.Add(new StoredBitmap(NewEntry(bitmap, before?.Entry, offset, count), bitmap));
            }

            await SwitchAsync(stored.ConvertAll(one => one.Entry), allocated, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            await allocated.GiveBackAsync().ConfigureAwait(false);
            throw;
        }

        var old = _stored.Except(kept).ToList();
        SetStored(stored);
        foreach (var one in old)
        {
            await _bits.FreeAsync(one.Entry, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Notes that a bitmap's place in the node was taken by another one, of another length.</summary>
    internal void Replace(DirtyBitmap before, DirtyBitmap after) => SetStored(_stored.ConvertAll(
        stored => ReferenceEquals(stored.Bitmap, before) ? stored with { Bitmap = after } : stored));

    /// <summary>Takes a bitmap out of the file; nothing happens when the file does not hold it.</summary>
    internal async ValueTask RemoveAsync(string name, CancellationToken cancellationToken)
    {
        await _changing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await RemoveLockedAsync(name, cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _changing.Release();
        }
    }

    /// <summary>Whether a persistent bitmap of the node is not in the file yet.</summary>
    internal bool HasNew(Qcow2Node node)
    {
        for (var index = 0; index < node.Bitmaps.Count; index++)
        {
            if (IsNew(node.Bitmaps[index]))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Enters the new bitmaps into the file, in use. For lack of space or of room in the directory they wait
    /// for the close, which reports it.</summary>
    internal async ValueTask EnterNewAsync(Qcow2Node node, CancellationToken cancellationToken)
    {
        await _changing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            var added = node.Bitmaps.Where(bitmap =>
                IsNew(bitmap) && CanStore(node, bitmap.Name!, bitmap.Granularity, out _, isThere: true)).ToList();
            AllocationList allocated = new(metadata);
            try
            {
                var stored = _stored.ToList();
                foreach (var bitmap in added)
                {
                    var (offset, count) = await _bits.StoreEmptyAsync(bitmap, allocated, cancellationToken)
                        .ConfigureAwait(false);
                    stored.Add(new StoredBitmap(NewEntry(bitmap, null, offset, count).MarkedInUse(), bitmap));
                }

                if (added.Count > 0)
                {
                    await SwitchAsync(stored.ConvertAll(one => one.Entry), allocated, cancellationToken)
                        .ConfigureAwait(false);
                    SetStored(stored);
                }
            }
            catch (BlockException exception) when (exception.Kind == BlockErrorKind.NoSpace)
            {
                await allocated.GiveBackAsync().ConfigureAwait(false);
            }
            catch
            {
                await allocated.GiveBackAsync().ConfigureAwait(false);
                throw;
            }
        }
        finally
        {
            _changing.Release();
        }
    }

    private bool IsNew(DirtyBitmap bitmap) =>
        bitmap is { IsPersistent: true, IsInconsistent: false, Name: not null } && !_known.Contains(bitmap);

    private void SetStored(List<StoredBitmap> stored)
    {
        _stored = stored;
        _known = [.. stored.Select(one => one.Bitmap)];
    }

    private async ValueTask RemoveLockedAsync(string name, CancellationToken cancellationToken)
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

        SetStored(left);
        await _bits.FreeAsync(removed.Entry, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Whether one more persistent bitmap could be stored, with the reason if not.</summary>
    internal bool CanStore(
        Qcow2Node node, string name, long granularity, out string reason, bool isThere = false)
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
            _ when persistent.Count - (isThere ? 1 : 0) >= Qcow2Limits.MaximumBitmaps =>
                $"Maximum number of persistent bitmaps ({Qcow2Limits.MaximumBitmaps}) is already reached",
            _ when directory + (isThere ? 0 : BitmapDirectoryEntry.LengthOf(nameLength, 0))
                > Qcow2Limits.MaximumBitmapDirectoryBytes =>
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
                    + "the format");
            }

            var offset = await allocated.AllocateAsync(directory.Length, cancellationToken).ConfigureAwait(false);
            await file.WriteAsync(offset, directory, cancellationToken).ConfigureAwait(false);
            extension = new BitmapsExtension((uint)entries.Count, directory.Length, offset);
        }

        var old = metadata.Header.Bitmaps;
        await metadata.WriteBackAsync(cancellationToken).ConfigureAwait(false);

        // From here on the header on disk may name the new clusters, even if writing it fails: they are not given back.
        allocated.Keep();
        await metadata.UpdateHeaderAsync(header => header.WithBitmaps(extension), cancellationToken)
            .ConfigureAwait(false);
        if (old is { } before)
        {
            var clusters = (int)((before.DirectoryLength + metadata.ClusterSize - 1) / metadata.ClusterSize);
            await metadata.FreeUnlinkedAsync(before.DirectoryOffset, clusters).ConfigureAwait(false);
        }
    }
}
