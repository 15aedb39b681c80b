using Tidemark.Repository.Blobs;
using Tidemark.Repository.Crypto;

namespace Tidemark.Repository.Packs;

// A pack in memory while it is filled by several encoders at once:
//
//   reserve   (under the lock) takes the next bytes and appends the entry: offsets follow each other without gaps
//   seal      (outside the lock) the encoder writes its blob into its own bytes
//   written   (under the lock) one writer less
//   close     (under the lock) no more reservations; whoever is last, closer or writer, finishes the pack
//
// Reserved bytes are never given back: if an encoder fails between reserve and written, the run fails.

/// <summary>A pack that is being filled. Thread-safe.</summary>
internal sealed class OpenPack(BlobType type, byte[] buffer)
{
    private readonly Lock _gate = new();
    private readonly List<PackEntry> _entries = [];

    // Guarded by _gate.
    private int _used;
    private int _headerLength = BlobCipher.Overhead + PackHeader.TrailerLength;
    private int _writers;
    private bool _closed;
    private byte[]? _buffer = buffer;

    /// <summary>The entries; complete once the pack is finished.</summary>
    internal IReadOnlyList<PackEntry> Entries => _entries;

    /// <summary>Takes room for a blob; false when it does not fit.</summary>
    internal bool TryReserve(in BlobId id, int sealedLength, int uncompressedLength, out Memory<byte> room)
    {
        lock (_gate)
        {
            var entry = new PackEntry(type, id, (uint)_used, (uint)sealedLength, (uint)uncompressedLength);
            if (_closed || (long)_used + sealedLength + _headerLength + entry.HeaderLength > _buffer!.Length)
            {
                room = default;
                return false;
            }

            room = _buffer.AsMemory(_used, sealedLength);
            _entries.Add(entry);
            _used += sealedLength;
            _headerLength += entry.HeaderLength;
            _writers++;
            return true;
        }
    }

    /// <summary>A reserved blob is written; true when the caller must now finish the pack.</summary>
    internal bool Written()
    {
        lock (_gate)
        {
            return --_writers == 0 && _closed;
        }
    }

    /// <summary>No blob fits any more; true when the caller must now finish the pack.</summary>
    internal bool Close()
    {
        lock (_gate)
        {
            var first = !_closed;
            _closed = true;
            return first && _writers == 0;
        }
    }

    /// <summary>
    /// Writes the header, reads it back and compares: what is stored was proved to be readable. Then names the pack.
    /// </summary>
    internal ReadOnlyMemory<byte> Finish(BlobCipher cipher, out BlobId id)
    {
        var length = _used + _headerLength;
        var content = _buffer.AsMemory(0, length);
        PackHeader.Write(_entries, cipher, content.Span[_used..]);

        var trailer = content.Span[^PackHeader.TrailerLength..];
        var headerLength = PackHeader.ReadTrailer(trailer, length, "the new pack");
        var sealedHeader = content.Span.Slice(length - PackHeader.TrailerLength - headerLength, headerLength);
        if (!PackHeader.Read(sealedHeader, cipher, length, "the new pack").SequenceEqual(_entries))
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged, "the header of a new pack does not read back as it was written; "
                + "the memory of this machine may be faulty. Nothing of the pack was stored");
        }

        id = BlobId.Of(content.Span);
        return content;
    }

    /// <summary>Copies a blob's sealed bytes out; false when the pack was stored and its memory is gone.</summary>
    internal bool TryCopy(BlobId id, out PackEntry entry, out byte[] message)
    {
        lock (_gate)
        {
            entry = _entries.Find(entry => entry.Id == id);
            message = _buffer is null || entry.SealedLength == 0
                ? []
                : _buffer.AsSpan((int)entry.Offset, (int)entry.SealedLength).ToArray();
            return message.Length > 0;
        }
    }

    /// <summary>Gives up the memory.</summary>
    internal byte[]? TakeBuffer()
    {
        lock (_gate)
        {
            var buffer = _buffer;
            _buffer = null;
            return buffer;
        }
    }
}
