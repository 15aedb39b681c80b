using System.Buffers.Binary;
using Tidemark.Repository.Blobs;
using Tidemark.Repository.Crypto;

namespace Tidemark.Repository.Packs;

// A pack ends with its sealed header and, in four bytes, the sealed header's length (doc/design.rst, "Pack Format"):
//
//   BLOB 1 || … || BLOB n || seal(ENTRY 1 || … || ENTRY n) || LENGTH (4, little-endian)
//
//   offset  plain entry (37)        compressed entry (41)
//   0       type: 0 data, 1 tree    type: 2 data, 3 tree
//   1       sealed length (4)       sealed length (4)
//   5       digest (32)             uncompressed length (4)
//   9                               digest (32)
//
// Offsets are not stored: blobs follow each other without gaps.

/// <summary>Writes and reads the header of a pack.</summary>
internal static class PackHeader
{
    internal const int PlainEntryLength = 37;
    internal const int CompressedEntryLength = 41;
    internal const int TrailerLength = 4;

    private const byte CompressedType = 2;

    /// <summary>Writes the sealed header and its trailer into exactly as many bytes as they need.</summary>
    internal static void Write(IReadOnlyList<PackEntry> entries, BlobCipher cipher, Span<byte> target)
    {
        var header = new byte[target.Length - BlobCipher.Overhead - TrailerLength];
        var rest = header.AsSpan();
        foreach (var entry in entries)
        {
            var compressed = entry.UncompressedLength != 0;
            rest[0] = (byte)((byte)entry.Type | (compressed ? CompressedType : 0));
            BinaryPrimitives.WriteUInt32LittleEndian(rest[1..], entry.SealedLength);
            if (compressed)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(rest[5..], entry.UncompressedLength);
            }

            entry.Id.WriteTo(rest[(entry.HeaderLength - BlobId.Length)..]);
            rest = rest[entry.HeaderLength..];
        }

        cipher.Seal(header, target[..^TrailerLength]);
        BinaryPrimitives.WriteUInt32LittleEndian(target[^TrailerLength..], (uint)(target.Length - TrailerLength));
    }

    /// <summary>The length of the sealed header that a pack's last four bytes name, checked against the
    /// pack's.</summary>
    /// <exception cref="RepositoryException">The pack is damaged.</exception>
    internal static int ReadTrailer(ReadOnlySpan<byte> trailer, long packLength, string where)
    {
        var length = BinaryPrimitives.ReadUInt32LittleEndian(trailer);
        if (length < BlobCipher.Overhead + PlainEntryLength
            || length > packLength - TrailerLength
            || length > RepositoryLimits.MaximumPackHeaderLength)
        {
            throw new RepositoryException(
                RepositoryErrorKind.Damaged, $"{where} is damaged: it says that its header has {length} bytes");
        }

        return (int)length;
    }

    /// <summary>Opens a sealed header and reads its entries, with the offsets that they imply.</summary>
    /// <param name="sealedHeader">The header without its trailer.</param>
    /// <param name="cipher">Opens it.</param>
    /// <param name="packLength">The pack's length, which the entries must add up to.</param>
    /// <param name="where">The pack, for messages.</param>
    /// <exception cref="RepositoryException">The pack is damaged.</exception>
    internal static List<PackEntry> Read(
        ReadOnlySpan<byte> sealedHeader, BlobCipher cipher, long packLength, string where)
    {
        var header = new byte[Math.Max(0, sealedHeader.Length - BlobCipher.Overhead)];
        if (!cipher.TryOpen(sealedHeader, header))
        {
            throw Damaged("its header's authentication code is wrong");
        }

        var entries = new List<PackEntry>(header.Length / PlainEntryLength);
        long offset = 0;
        for (ReadOnlySpan<byte> rest = header; !rest.IsEmpty;)
        {
            var kind = rest[0];
            var length = kind < CompressedType ? PlainEntryLength : CompressedEntryLength;
            if (kind > 3 || rest.Length < length)
            {
                throw Damaged($"its header has an entry of type {kind} with {rest.Length} bytes left");
            }

            var sealedLength = BinaryPrimitives.ReadUInt32LittleEndian(rest[1..]);
            var plainLength = kind < CompressedType ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(rest[5..]);
            var id = new BlobId(rest[(length - BlobId.Length)..]);
            entries.Add(new PackEntry((BlobType)(kind & 1), id, (uint)offset, sealedLength, plainLength));
            offset += sealedLength;
            rest = rest[length..];
            if (offset > packLength)
            {
                throw Damaged($"its blobs would end at {offset}, after its end at {packLength}");
            }
        }

        return offset + sealedHeader.Length + TrailerLength == packLength
            ? entries
            : throw Damaged(
                $"its blobs end at {offset} and its header has {sealedHeader.Length} bytes: not {packLength}");

        RepositoryException Damaged(string why) =>
            new(RepositoryErrorKind.Damaged,
                $"{where} is damaged: {why}; restic check and restic rebuild-index can help");
    }
}
