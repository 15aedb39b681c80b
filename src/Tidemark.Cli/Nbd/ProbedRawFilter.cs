using Tidemark.Blocks.Nodes;

namespace Tidemark.Cli.Nbd;

/// <summary>
/// Above a disk that is raw only because it looked like nothing else: keeps it so. A guest that could write an image's
/// magic number to its first bytes would have its disk taken for that image the next time, with a backing file of its
/// choice read from this host.
/// </summary>
/// <remarks>Writes to the first sector are checked one after the other; all others pass untouched.</remarks>
internal sealed class ProbedRawFilter : FilterNode
{
    private const int SectorLength = 512;

    // Where the formats that QEMU probes have their magic numbers, and what they are.
    private static readonly (int Offset, byte[] Magic)[] s_magics =
    [
        (0, [(byte)'Q', (byte)'F', (byte)'I', 0xfb]),
        (0, [(byte)'Q', (byte)'E', (byte)'D', 0]),
        (0, [(byte)'L', (byte)'U', (byte)'K', (byte)'S', 0xba, 0xbe]),
        (0, "KDMV"u8.ToArray()),
        (0, "COWD"u8.ToArray()),
        (0, "vhdxfile"u8.ToArray()),
        (0, "conectix"u8.ToArray()),
        (0, "WithoutFreeSpace"u8.ToArray()),
        (0, "WithouFreSpacExt"u8.ToArray()),
        (0, "Bochs Virtual HD Image"u8.ToArray()),
        (0, "#!/bin/sh\n#V2.0 Format"u8.ToArray()),
        (64, [0x7f, 0x10, 0xda, 0xbe]),
    ];

    private static readonly byte[] s_descriptor = "# Disk DescriptorFile"u8.ToArray();

    private readonly SemaphoreSlim _gate = new(1);

    /// <summary>Puts the filter above a disk.</summary>
    public ProbedRawFilter(string name, BlockNode file)
        : base(name, file)
    {
    }

    /// <inheritdoc/>
    public override string Driver => "raw";

    /// <inheritdoc/>
    public override async ValueTask DisposeAsync()
    {
        await base.DisposeAsync();
        _gate.Dispose();
    }

    /// <summary>Whether a disk that begins with this sector would be taken for an image.</summary>
    internal static bool LooksLikeAnImage(ReadOnlySpan<byte> sector)
    {
        foreach (var (offset, magic) in s_magics)
        {
            if (sector.Length >= offset + magic.Length && sector.Slice(offset, magic.Length).SequenceEqual(magic))
            {
                return true;
            }
        }

        // A VMDK descriptor may stand behind comments and empty lines.
        return sector.Length > 0 && sector[0] is (byte)'#' or (byte)'\n' or (byte)'\r'
            && sector.IndexOf(s_descriptor) >= 0;
    }

    /// <inheritdoc/>
    protected override ValueTask WriteCoreAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken) =>
        offset >= SectorLength
            ? base.WriteCoreAsync(offset, source, flags, cancellationToken)
            : WriteFirstAsync(offset, source, flags, cancellationToken);

    /// <inheritdoc/>
    protected override ValueTask WriteZeroesCoreAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken) =>
        offset >= SectorLength
            ? base.WriteZeroesCoreAsync(offset, length, flags, cancellationToken)
            : ZeroFirstAsync(offset, length, flags, cancellationToken);

    private async ValueTask WriteFirstAsync(
        long offset, ReadOnlyMemory<byte> source, WriteFlags flags, CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken);
        try
        {
            var sector = await ReadSectorAsync(cancellationToken);
            var count = (int)Math.Min(source.Length, sector.Length - offset);
            source.Span[..count].CopyTo(sector.AsSpan((int)offset));
            Check(sector);
            await base.WriteCoreAsync(offset, source, flags, cancellationToken);
        }
        finally
        {
            _gate.Release();
        }
    }

    private async ValueTask ZeroFirstAsync(
        long offset, long length, WriteFlags flags, CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken);
        try
        {
            var sector = await ReadSectorAsync(cancellationToken);
            sector.AsSpan((int)offset, (int)Math.Min(length, sector.Length - offset)).Clear();
            Check(sector);
            await base.WriteZeroesCoreAsync(offset, length, flags, cancellationToken);
        }
        finally
        {
            _gate.Release();
        }
    }

    private async ValueTask<byte[]> ReadSectorAsync(CancellationToken cancellationToken)
    {
        var sector = new byte[Math.Min(SectorLength, Length)];
        await File.Node.ReadAsync(0, sector, cancellationToken);
        return sector;
    }

    private void Check(ReadOnlySpan<byte> sector)
    {
        if (LooksLikeAnImage(sector))
        {
            throw new BlockException(
                BlockErrorKind.ReadOnly,
                $"a write to the first sector of '{File.Node.Name}' is refused: the disk was taken to be raw by its "
                + "looks, and would be taken for an image afterwards; serve it with --format raw to allow it");
        }
    }
}
