namespace Tidemark.Qcow2.Tests.Differential;

/// <summary>One change of a disk, that either side can make.</summary>
/// <param name="Kind">What.</param>
/// <param name="Offset">Where, in whole sectors.</param>
/// <param name="Length">How long, in whole sectors.</param>
/// <param name="Pattern">The byte that is written.</param>
internal sealed record DiskChange(DiskChangeKind Kind, int Offset, int Length, byte Pattern)
{
    private const int Sector = 512;

    internal static DiskChange Next(Random random, DiskModel model, int clusterSize, bool canCompress)
    {
        var diskLength = model.Bytes.Length;
        var kind = (DiskChangeKind)random.Next(6);
        if (kind == DiskChangeKind.Compressed)
        {
            // QEMU compresses only what is not allocated yet.
            var offset = random.Next(diskLength / clusterSize) * clusterSize;
            if (canCompress && !model.IsTouched(offset, clusterSize))
            {
                return new DiskChange(kind, offset, clusterSize, (byte)random.Next(1, 256));
            }

            kind = DiskChangeKind.Write;
        }

        var unit = random.Next(3) == 0 ? Math.Min(clusterSize, 65536) : Sector;
        var start = random.Next(diskLength / unit) * unit;
        var most = Math.Min(diskLength - start, random.Next(4) switch { 0 => 1 << 20, 1 => 4096, _ => 200_000 });
        var length = Math.Max(Sector, (1 + random.Next(most)) / unit * unit);
        return new DiskChange(kind, start, Math.Min(length, diskLength - start), (byte)random.Next(1, 256));
    }

    internal void ApplyTo(DiskModel model)
    {
        if (Kind == DiskChangeKind.Discard)
        {
            model.Discard(Offset, Length);
            return;
        }

        var data = new byte[Length];
        if (Kind is DiskChangeKind.Write or DiskChangeKind.Compressed)
        {
            data.AsSpan().Fill(Pattern);
        }

        model.Write(Offset, data);
    }
}
